select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  bids,
  asks,
  last_update_id,
  spread_bps,
  imbalance,
  ofi,
  trade_imbalance,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_exchanges', 'order_books') }}
where known_at <= {{ as_of() }}
