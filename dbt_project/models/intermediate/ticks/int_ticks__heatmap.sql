-- The recomputed rows of liquidation_heatmap: what was liquidated per planner symbol, hour, side and price bin, over the
-- perpetuals that feed the symbol. Realised liquidations only. The running hour is there with what it has so far: cells only
-- grow, and the watched fraction tells how much of the hour was seen.
with feeders as (
  select
    ranges.symbol,
    planner.source,
    planner.instrument,
    ranges.starts_at,
    ranges.ends_at
  from {{ ref('int_market__touched_ranges') }} as ranges
  inner join {{ ref('stg_registry__planner_symbols') }} as planner
    on ranges.symbol = planner.planner_symbol and planner.role = 'positioning'
  where ranges.mart = 'liquidation_heatmap'
),

bins as (
  select
    feeders.symbol,
    liquidations.bucket_at,
    liquidations.side,
    liquidations.price_bin,
    sum(liquidations.notional_usd) as notional_usd,
    sum(liquidations.size_base) as size_base,
    count(*) as liquidation_count,
    bool_or(liquidations.is_sampled or {{ is_sampled_venue('liquidations.source') }}) as is_sampled
  from feeders
  inner join {{ ref('int_ticks__liquidations') }} as liquidations
    on
      feeders.source = liquidations.source
      and feeders.instrument = liquidations.instrument
      and liquidations.bucket_at >= feeders.starts_at
      and liquidations.bucket_at < feeders.ends_at
  group by 1, 2, 3, 4
),

verdicts as (
  {{ verdict_hours('liquidations') }}
),

watched as (
  select
    feeders.symbol,
    verdicts.bucket_at,
    sum(verdicts.watched_minutes) as watched_minutes
  from feeders
  inner join verdicts
    on
      feeders.source = verdicts.source
      and feeders.instrument = verdicts.instrument
      and verdicts.bucket_at >= feeders.starts_at
      and verdicts.bucket_at < feeders.ends_at
  group by 1, 2
),

venues as (
  select
    planner_symbol as symbol,
    count(*) as venues
  from {{ ref('stg_registry__planner_symbols') }}
  where role = 'positioning'
  group by 1
)

select
  bins.symbol,
  bins.bucket_at,
  bins.side,
  bins.price_bin,
  {{ price_of_bin('bins.price_bin') }} as price_low,
  {{ price_of_bin('bins.price_bin + 1') }} as price_high,
  bins.notional_usd,
  bins.size_base,
  bins.liquidation_count,
  bins.is_sampled,
  {{ rounded('coalesce(watched.watched_minutes, 0) / (60 * venues.venues)', 6) }} as liquidations_watched_fraction
from bins
inner join venues on bins.symbol = venues.symbol
left join watched on bins.symbol = watched.symbol and bins.bucket_at = watched.bucket_at
