select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  side,
  price,
  size_base,
  size_native,
  price_kind,
  is_sampled,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_exchanges', 'liquidations') }}
where known_at <= {{ as_of() }}
