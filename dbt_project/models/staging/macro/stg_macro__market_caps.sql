select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  market_cap_usd,
  volume_24h_usd,
  price_usd,
  dominance_pct,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_macro', 'market_caps') }}
where known_at <= {{ as_of() }}
