-- Newest revision of the bars that the touched buckets are made of, one row per feeder and bar.
select
  ranges.symbol as planner_symbol,
  feeders.rank,
  feeders.source,
  feeders.instrument,
  bars.timeframe,
  bars.event_at,
  bars.open,
  bars.high,
  bars.low,
  bars.close,
  bars.volume_base,
  bars.volume_quote,
  bars.trade_count,
  bars.taker_buy_base
from {{ ref('int_market__touched_ranges') }} as ranges
inner join {{ ref('stg_registry__planner_symbols') }} as feeders
  on ranges.symbol = feeders.planner_symbol and feeders.role = 'price'
cross join lateral (
  select distinct on (revisions.timeframe, revisions.event_at)
    revisions.timeframe,
    revisions.event_at,
    revisions.open,
    revisions.high,
    revisions.low,
    revisions.close,
    revisions.volume_base,
    revisions.volume_quote,
    revisions.trade_count,
    revisions.taker_buy_base,
    revisions.is_tombstone
  from {{ ref('stg_exchanges__ohlcv') }} as revisions
  where
    revisions.source = feeders.source
    and revisions.symbol = feeders.instrument
    and revisions.timeframe in ('1h', '8h')
    and revisions.event_at >= ranges.starts_at
    and revisions.event_at < ranges.ends_at
  order by revisions.timeframe, revisions.event_at, revisions.known_at desc
) as bars
where ranges.mart = 'market_aggregates' and not bars.is_tombstone
