select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  trade_id,
  trade_kind,
  price,
  size_base,
  side,
  size_native,
  sequence,
  is_liquidation,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_exchanges', 'trades') }}
where known_at <= {{ as_of() }}
