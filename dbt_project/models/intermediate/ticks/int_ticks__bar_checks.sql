-- Bars made of trades beside the venue's own bars of the same span, minutes and hours, where both exist. Where all of the
-- span is verified both must say the same; the taker's delta is `2 * taker_buy_base - volume_base` of the venue's bar.
with verified_hours as (
  {{ verdict_hours('trades') }}
),

made_of_trades as (
  select
    minutes.source,
    minutes.instrument,
    '1m' as timeframe,
    minutes.event_at,
    minutes.open,
    minutes.high,
    minutes.low,
    minutes.close,
    minutes.volume_base,
    minutes.buy_base - minutes.sell_base as taker_delta_base,
    coalesce(verdicts.verdict = 'verified', false) as is_verified
  from {{ ref('int_ticks__trade_minutes') }} as minutes
  left join {{ ref('int_ticks__verdict_minutes') }} as verdicts
    on
      minutes.source = verdicts.source
      and minutes.instrument = verdicts.instrument
      and verdicts.channel = 'trades'
      and minutes.event_at = verdicts.minute_at
  union all
  select
    hours.source,
    hours.instrument,
    '1h',
    hours.bucket_at,
    hours.open,
    hours.high,
    hours.low,
    hours.close,
    hours.volume_base,
    hours.cvd_delta_base,
    coalesce(verified_hours.verified_minutes = 60, false)
  from {{ ref('int_ticks__trade_hours') }} as hours
  left join verified_hours
    on
      hours.source = verified_hours.source
      and hours.instrument = verified_hours.instrument
      and hours.bucket_at = verified_hours.bucket_at
  where hours.close is not null
),

own as (
  select
    days.source,
    days.instrument,
    bars.timeframe,
    bars.event_at,
    bars.open,
    bars.high,
    bars.low,
    bars.close,
    bars.volume_base,
    2 * bars.taker_buy_base - bars.volume_base as taker_delta_base
  from {{ ref('int_ticks__instrument_days') }} as days
  cross join lateral (
    select distinct on (revisions.timeframe, revisions.event_at)
      revisions.timeframe,
      revisions.event_at,
      revisions.open,
      revisions.high,
      revisions.low,
      revisions.close,
      revisions.volume_base,
      revisions.taker_buy_base,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__ohlcv') }} as revisions
    where
      revisions.source = days.source
      and revisions.symbol = days.instrument
      and revisions.timeframe in ('1m', '1h')
      and revisions.event_at >= days.day_at
      and revisions.event_at < days.day_at + interval '1 day'
    order by revisions.timeframe, revisions.event_at, revisions.known_at desc
  ) as bars
  where not bars.is_tombstone
)

select
  source,
  instrument,
  timeframe,
  event_at,
  made_of_trades.is_verified,
  {{ rounded('10000 * (made_of_trades.close - own.close) / own.close', 4) }} as close_deviation_bps,
  {{ rounded('10000 * (made_of_trades.volume_base - own.volume_base) / nullif(own.volume_base, 0)', 4) }} as volume_deviation_bps,
  made_of_trades.taker_delta_base - own.taker_delta_base as taker_delta_difference_base,
  made_of_trades.open = own.open
  and made_of_trades.high = own.high
  and made_of_trades.low = own.low
  and made_of_trades.close = own.close
  and made_of_trades.volume_base = own.volume_base
  -- A venue that does not tell what takers bought cannot contradict.
  and coalesce(made_of_trades.taker_delta_base = own.taker_delta_base, true) as is_equal
from made_of_trades
inner join own using (source, instrument, timeframe, event_at)
