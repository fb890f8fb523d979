-- Newest revision of the liquidations in the touched days, each with its price bin and its value.
select
  days.source,
  days.instrument,
  {{ hour_of('newest.event_at') }} as bucket_at,
  newest.event_at,
  newest.side,
  newest.price,
  newest.size_base,
  trim_scale(newest.price * newest.size_base) as notional_usd,
  {{ price_bin('newest.price') }} as price_bin,
  newest.is_sampled
from {{ ref('int_ticks__instrument_days') }} as days
cross join lateral (
  select distinct on (revisions.event_at, revisions.side, revisions.price, revisions.size_base)
    revisions.event_at,
    revisions.side,
    revisions.price,
    revisions.size_base,
    revisions.is_sampled,
    revisions.is_tombstone
  from {{ ref('stg_exchanges__liquidations') }} as revisions
  where
    revisions.source = days.source
    and revisions.symbol = days.instrument
    and revisions.event_at >= days.day_at
    and revisions.event_at < days.day_at + interval '1 day'
  order by revisions.event_at, revisions.side, revisions.price, revisions.size_base, revisions.known_at desc
) as newest
where days.feeds_positioning and not newest.is_tombstone
