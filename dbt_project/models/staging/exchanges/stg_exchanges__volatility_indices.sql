select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  open_pct,
  high_pct,
  low_pct,
  close_pct,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_exchanges', 'volatility_indices') }}
where known_at <= {{ as_of() }}
