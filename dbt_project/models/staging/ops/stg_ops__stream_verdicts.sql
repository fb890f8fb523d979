select
  venue,
  symbol,
  channel,
  minute,
  verdict,
  events,
  gaps,
  detail,
  session_id,
  recorded_at
from {{ source('ops', 'stream_verdicts') }}
where recorded_at <= {{ as_of() }}
