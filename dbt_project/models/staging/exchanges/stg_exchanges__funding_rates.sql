select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  kind,
  rate,
  interval_hours,
  settled_at,
  mark_price,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_exchanges', 'funding_rates') }}
where known_at <= {{ as_of() }}
