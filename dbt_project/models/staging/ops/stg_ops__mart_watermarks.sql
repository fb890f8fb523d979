select
  mart,
  as_of,
  run_id,
  versions,
  recorded_at
from {{ source('ops', 'mart_watermarks') }}
