select
  source,
  symbol,
  event_at,
  published_at,
  received_at,
  available_at,
  available_basis,
  is_tombstone,
  ratio_kind,
  period,
  ratio,
  long_share,
  short_share,
  known_at,
  batch_id,
  record_hash,
  schema_version,
  quality_score
from {{ source('raw_exchanges', 'long_short_ratios') }}
where known_at <= {{ as_of() }}
