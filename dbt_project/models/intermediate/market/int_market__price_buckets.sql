-- One row per planner symbol, timeframe and bucket: the bar of the best-ranked venue that is complete for that bucket.
-- A longer bar is rolled up from all of its finer bars of one venue, or there is none; venues are never mixed in a bar.
with made_of as (
  select *
  from (
    values
    ('1h', '1h', 1, interval '1 hour'),
    ('4h', '1h', 4, interval '4 hours'),
    ('1d', '1h', 24, interval '1 day'),
    ('1d', '8h', 3, interval '1 day')
  ) as parts (timeframe, made_of_timeframe, bars_expected, length)
),

rolled_up as (
  select
    bars.planner_symbol as symbol,
    made_of.timeframe,
    date_bin(made_of.length, bars.event_at, timestamptz '1970-01-01 00:00:00+00') as bucket_at,
    bars.source,
    bars.instrument,
    bars.rank,
    bars.timeframe as made_of_timeframe,
    made_of.bars_expected,
    count(*) as bars_observed,
    (array_agg(bars.open order by bars.event_at))[1] as open,
    max(bars.high) as high,
    min(bars.low) as low,
    (array_agg(bars.close order by bars.event_at desc))[1] as close,
    sum(bars.volume_base) as volume_base,
    -- A part that the venue did not state leaves the whole unknown.
    case when count(bars.volume_quote) = count(*) then sum(bars.volume_quote) end as volume_quote,
    case when count(bars.trade_count) = count(*) then sum(bars.trade_count) end as trade_count,
    case when count(bars.taker_buy_base) = count(*) then sum(bars.taker_buy_base) end as taker_buy_base
  from {{ ref('int_market__feeder_bars') }} as bars
  inner join made_of on bars.timeframe = made_of.made_of_timeframe
  group by 1, 2, 3, 4, 5, 6, 7, 8
)

select distinct on (symbol, timeframe, bucket_at)
  symbol,
  timeframe,
  bucket_at,
  source,
  instrument,
  made_of_timeframe,
  bars_observed,
  bars_expected,
  open,
  high,
  low,
  close,
  volume_base,
  volume_quote,
  trade_count,
  taker_buy_base
from rolled_up
where bars_observed = bars_expected
order by symbol, timeframe, bucket_at, rank, bars_expected desc
