-- The perpetuals that carry the positioning of each planner symbol, the spot of the same quote, and the touched ranges.
select
  feeders.planner_symbol as symbol,
  feeders.source,
  feeders.instrument,
  feeders.rank,
  instruments.base || '-' || instruments.quote as spot,
  ranges.starts_at,
  -- An hour appears when it is over.
  least(ranges.ends_at, {{ hour_of(as_of()) }}) as ends_at
from {{ ref('int_market__touched_ranges') }} as ranges
inner join {{ ref('stg_registry__planner_symbols') }} as feeders
  on ranges.symbol = feeders.planner_symbol and feeders.role = 'positioning'
left join {{ ref('stg_registry__instruments') }} as instruments
  on feeders.source = instruments.source and feeders.instrument = instruments.symbol
where ranges.mart = 'positioning_by_venue'
