-- Trades per venue and hour. Bought less sold volume is the hour's delta; the session's sum starts at 00:00 UTC and is
-- told only while every hour since has a delta. An hour without a trade counts as one only if somebody was watching.
with hours as (
  select
    source,
    instrument,
    {{ hour_of('event_at') }} as bucket_at,
    (array_agg(open order by event_at))[1] as open,
    max(high) as high,
    min(low) as low,
    (array_agg(close order by event_at desc))[1] as close,
    sum(volume_base) as volume_base,
    sum(volume_quote) as volume_quote,
    sum(buy_base - sell_base) as delta_base,
    sum(trade_count) as trade_count
  from {{ ref('int_ticks__trade_minutes') }}
  group by 1, 2, 3
),

verdicts as (
  {{ verdict_hours('trades') }}
),

told as (
  select
    source,
    instrument,
    bucket_at,
    {{ day_of('bucket_at') }} as session_at,
    hours.open,
    hours.high,
    hours.low,
    hours.close,
    coalesce(hours.volume_base, case when verdicts.watched_minutes > 0 then 0 end) as volume_base,
    coalesce(hours.volume_quote, case when verdicts.watched_minutes > 0 then 0 end) as volume_quote,
    coalesce(hours.delta_base, case when verdicts.watched_minutes > 0 then 0 end) as cvd_delta_base,
    coalesce(hours.trade_count, case when verdicts.watched_minutes > 0 then 0 end) as trade_count,
    coalesce(verdicts.verified_minutes, 0) as verified_minutes
  from hours
  full outer join verdicts using (source, instrument, bucket_at)
)

select
  source,
  instrument,
  bucket_at,
  open,
  high,
  low,
  close,
  volume_base,
  volume_quote,
  cvd_delta_base,
  trade_count,
  verified_minutes,
  case
    when count(cvd_delta_base) over session = extract(hour from bucket_at) + 1 then sum(cvd_delta_base) over session
  end as cvd_session_base,
  sum(verified_minutes) over session as session_verified_minutes
from told
window session as (partition by source, instrument, session_at order by bucket_at)
