select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  open_interest_base,
  open_interest_usd,
  open_interest_native,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_exchanges', 'open_interest') }}
where known_at <= {{ as_of() }}
