{{ config(post_hook="{{ mark_run() }}") }}
-- The touched ranges of planner_sentiment, for `global` and each asset of a planner symbol.
select
  'planner_sentiment' as mart,
  assets.symbol,
  ranges.starts_at,
  ranges.ends_at
from {{ ref('int_context__touched_ranges') }} as ranges
cross join (
  select 'global' as symbol
  union
  select split_part(planner_symbol, '-', 1) from {{ ref('stg_registry__planner_symbols') }}
) as assets
where ranges.mart = 'planner_sentiment'
