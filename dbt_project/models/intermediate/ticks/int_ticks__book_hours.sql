-- Books per venue and hour, from the last sample of each minute: sums and counts, so that a longer bucket weighs every
-- minute the same. A minute without a sample is not filled in.
with samples as (
  select distinct on (days.source, days.instrument, date_trunc('minute', books.event_at))
    days.source,
    days.instrument,
    books.event_at,
    books.spread_bps,
    books.imbalance
  from {{ ref('int_ticks__instrument_days') }} as days
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.spread_bps,
      revisions.imbalance,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__order_books') }} as revisions
    where
      revisions.source = days.source
      and revisions.symbol = days.instrument
      and revisions.event_at >= days.day_at
      and revisions.event_at < days.day_at + interval '1 day'
    order by revisions.event_at, revisions.known_at desc
  ) as books
  where days.feeds_price and not books.is_tombstone
  order by days.source, days.instrument, date_trunc('minute', books.event_at), books.event_at desc
),

hours as (
  select
    source,
    instrument,
    {{ hour_of('event_at') }} as bucket_at,
    sum(spread_bps) as spread_bps_sum,
    count(spread_bps) as spread_minutes,
    sum(imbalance) as imbalance_sum,
    count(imbalance) as imbalance_minutes
  from samples
  group by 1, 2, 3
),

verdicts as (
  {{ verdict_hours('orderbook') }}
)

select
  source,
  instrument,
  bucket_at,
  hours.spread_bps_sum,
  coalesce(hours.spread_minutes, 0) as spread_minutes,
  hours.imbalance_sum,
  coalesce(hours.imbalance_minutes, 0) as imbalance_minutes,
  coalesce(verdicts.verified_minutes, 0) as verified_minutes
from hours
full outer join verdicts using (source, instrument, bucket_at)
