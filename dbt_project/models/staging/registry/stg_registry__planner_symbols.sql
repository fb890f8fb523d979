select
  planner_symbol,
  role,
  source,
  instrument,
  rank,
  reason
from {{ source('registry', 'planner_symbols') }}
