select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  scope,
  tvl_usd,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_onchain', 'tvl') }}
where known_at <= {{ as_of() }}
