-- Trades and liquidations of each perpetual per hour, for every symbol that it feeds. What was liquidated is a lower bound
-- where the venue publishes a sample; none is zero only if somebody was watching.
with liquidations as (
  select
    source,
    instrument,
    bucket_at,
    sum(notional_usd) filter (where side = 'long') as long_usd,
    sum(notional_usd) filter (where side = 'short') as short_usd,
    bool_or(is_sampled) as is_sampled
  from {{ ref('int_ticks__liquidations') }}
  group by 1, 2, 3
),

verdicts as (
  {{ verdict_hours('liquidations') }}
),

forced as (
  select
    source,
    instrument,
    bucket_at,
    liquidations.long_usd,
    liquidations.short_usd,
    liquidations.is_sampled,
    liquidations.bucket_at is not null or verdicts.watched_minutes > 0 as is_known,
    coalesce(verdicts.watched_minutes, 0) as watched_minutes
  from liquidations
  full outer join verdicts using (source, instrument, bucket_at)
),

hours as (
  select
    source,
    instrument,
    bucket_at,
    trades.cvd_delta_base,
    trades.cvd_session_base,
    trades.verified_minutes,
    trades.session_verified_minutes,
    case when forced.is_known then coalesce(forced.long_usd, 0) end as liquidated_long_usd,
    case when forced.is_known then coalesce(forced.short_usd, 0) end as liquidated_short_usd,
    case when forced.is_known then coalesce(forced.is_sampled, false) or {{ is_sampled_venue('source') }} end as liquidations_sampled,
    forced.watched_minutes
  from {{ ref('int_ticks__trade_hours') }} as trades
  full outer join forced using (source, instrument, bucket_at)
)

select
  perpetuals.symbol,
  hours.source,
  hours.instrument,
  hours.bucket_at,
  hours.cvd_delta_base,
  hours.cvd_session_base,
  {{ rounded('hours.verified_minutes::numeric / 60', 6) }} as ticks_verified_fraction,
  {{ rounded('hours.session_verified_minutes / (60 * (extract(hour from hours.bucket_at) + 1))', 6) }} as cvd_session_verified_fraction,
  hours.liquidated_long_usd,
  hours.liquidated_short_usd,
  hours.liquidations_sampled,
  {{ rounded('hours.watched_minutes::numeric / 60', 6) }} as liquidations_watched_fraction
from {{ ref('int_positioning__perpetuals') }} as perpetuals
inner join hours
  on
    perpetuals.source = hours.source
    and perpetuals.instrument = hours.instrument
    and hours.bucket_at >= perpetuals.starts_at
    and hours.bucket_at < perpetuals.ends_at
