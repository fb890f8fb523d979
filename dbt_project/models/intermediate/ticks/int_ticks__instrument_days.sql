-- Touched days of each instrument that feeds a planner symbol, once however many symbols it feeds.
select
  feeders.source,
  feeders.instrument,
  days.day_at,
  bool_or(roles.role = 'price') as feeds_price,
  bool_or(roles.role = 'positioning') as feeds_positioning
from {{ ref('int_market__touched_ranges') }} as ranges
inner join (
  values
  ('market_aggregates', 'price'),
  ('positioning_by_venue', 'positioning'),
  ('liquidation_heatmap', 'positioning')
) as roles (mart, role) on ranges.mart = roles.mart
inner join {{ ref('stg_registry__planner_symbols') }} as feeders
  on ranges.symbol = feeders.planner_symbol and roles.role = feeders.role
cross join lateral generate_series(ranges.starts_at, ranges.ends_at - interval '1 day', interval '1 day') as days (day_at)
group by 1, 2, 3
