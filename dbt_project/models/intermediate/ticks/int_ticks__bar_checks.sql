-- Bars made of trades beside the venue's own bars of the same span, minutes and hours, where both exist. Where all of the
-- span is verified both must say the same; the taker's delta is `2 * taker_buy_base - volume_base` of the venue's bar.
with told as (
  select
    source,
    instrument,
    '1m' as timeframe,
    event_at,
    'trades' as teller,
    open,
    high,
    low,
    close,
    volume_base,
    buy_base - sell_base as taker_delta_base,
    null::boolean as is_verified
  from {{ ref('int_ticks__trade_minutes') }}
  union all
  select
    source,
    instrument,
    '1h',
    bucket_at,
    'trades',
    open,
    high,
    low,
    close,
    volume_base,
    cvd_delta_base,
    verified_minutes = 60
  from {{ ref('int_ticks__trade_hours') }}
  where close is not null
  union all
  select
    source,
    instrument,
    '1m',
    minute_at,
    'verdict',
    null,
    null,
    null,
    null,
    null,
    null,
    verdict = 'verified'
  from {{ ref('int_ticks__verdict_minutes') }}
  where channel = 'trades'
  union all
  select
    days.source,
    days.instrument,
    bars.timeframe,
    bars.event_at,
    'venue',
    bars.open,
    bars.high,
    bars.low,
    bars.close,
    bars.volume_base,
    2 * bars.taker_buy_base - bars.volume_base,
    null
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
),

-- Brought together by grouping, not by joining: of work tables this new the database knows no sizes to plan a join by.
spans as (
  select
    source,
    instrument,
    timeframe,
    event_at,
    coalesce(bool_or(is_verified), false) as is_verified,
    {% for name in ['open', 'high', 'low', 'close', 'volume_base', 'taker_delta_base'] -%}
    max({{ name }}) filter (where teller = 'trades') as {{ name }},
    max({{ name }}) filter (where teller = 'venue') as venue_{{ name }}{{ ',' if not loop.last }}
    {% endfor %}
  from told
  group by 1, 2, 3, 4
)

select
  source,
  instrument,
  timeframe,
  event_at,
  is_verified,
  {{ rounded('10000 * (close - venue_close) / venue_close', 4) }} as close_deviation_bps,
  {{ rounded('10000 * (volume_base - venue_volume_base) / nullif(venue_volume_base, 0)', 4) }} as volume_deviation_bps,
  taker_delta_base - venue_taker_delta_base as taker_delta_difference_base,
  open = venue_open
  and high = venue_high
  and low = venue_low
  and close = venue_close
  and volume_base = venue_volume_base
  -- A venue that does not tell what takers bought cannot contradict.
  and coalesce(taker_delta_base = venue_taker_delta_base, true) as is_equal
from spans
where close is not null and venue_close is not null
