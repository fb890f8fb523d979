-- Funding as a series of prints: settlements at their time, and each new estimate of a venue at the time that we read it
-- (an estimate is revised under one key, so its history is its revisions). A print outside of the dead band whose sign
-- differs from that of the last such print is a flip; settled and predicted prints are told apart.
with settled as (
  select
    perpetuals.symbol,
    perpetuals.source,
    perpetuals.instrument,
    perpetuals.starts_at,
    perpetuals.ends_at,
    'settled' as kind,
    prints.event_at as print_at,
    prints.event_at as settles_at,
    prints.rate,
    prints.interval_hours
  from {{ ref('int_positioning__perpetuals') }} as perpetuals
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.rate,
      revisions.interval_hours,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__funding_rates') }} as revisions
    where
      revisions.source = perpetuals.source
      and revisions.symbol = perpetuals.instrument
      and revisions.kind = 'settled'
      and revisions.event_at >= perpetuals.starts_at - interval '{{ var("flip_memory_days") }} days'
      and revisions.event_at < perpetuals.ends_at
    order by revisions.event_at, revisions.known_at desc
  ) as prints
  where not prints.is_tombstone
),

predicted as (
  select distinct on (
    perpetuals.symbol, perpetuals.source, perpetuals.instrument, perpetuals.starts_at, revisions.received_at
  )
    perpetuals.symbol,
    perpetuals.source,
    perpetuals.instrument,
    perpetuals.starts_at,
    perpetuals.ends_at,
    'predicted' as kind,
    revisions.received_at as print_at,
    revisions.event_at as settles_at,
    revisions.rate,
    revisions.interval_hours
  from {{ ref('int_positioning__perpetuals') }} as perpetuals
  inner join {{ ref('stg_exchanges__funding_rates') }} as revisions
    on
      perpetuals.source = revisions.source
      and perpetuals.instrument = revisions.symbol
      and revisions.kind = 'predicted'
      -- An estimate is about a settlement within the next day.
      and revisions.event_at >= perpetuals.starts_at - interval '{{ var("flip_memory_days") }} days'
      and revisions.event_at < perpetuals.ends_at + interval '1 day'
      and revisions.received_at >= perpetuals.starts_at - interval '{{ var("flip_memory_days") }} days'
      and revisions.received_at < perpetuals.ends_at
  where not revisions.is_tombstone
  order by
    perpetuals.symbol,
    perpetuals.source,
    perpetuals.instrument,
    perpetuals.starts_at,
    revisions.received_at,
    revisions.event_at,
    revisions.known_at desc
),

prints as (
  select * from settled
  union all
  select * from predicted
),

compared as (
  select
    *,
    abs(rate) > {{ var('flip_dead_band') }} as has_sign,
    lag(sign(rate)) over same_kind as previous_sign,
    lag(print_at) over same_kind as previous_at
  from prints
  window same_kind as (
    partition by symbol, source, instrument, starts_at, kind, abs(rate) > {{ var('flip_dead_band') }} order by print_at
  )
)

select
  symbol,
  source,
  instrument,
  starts_at,
  ends_at,
  kind,
  print_at,
  settles_at,
  rate,
  interval_hours,
  lead(print_at) over (
    partition by symbol, source, instrument, starts_at, kind order by print_at
  ) as next_print_at,
  coalesce(
    has_sign
    and previous_sign <> sign(rate)
    and previous_at >= print_at - interval '{{ var("flip_memory_days") }} days',
    false
  ) as is_flip
from compared
