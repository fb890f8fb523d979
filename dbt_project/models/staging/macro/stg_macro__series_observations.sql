select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  series_id,
  value,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_macro', 'series_observations') }}
where known_at <= {{ as_of() }}
