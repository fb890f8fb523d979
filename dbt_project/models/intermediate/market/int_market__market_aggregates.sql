-- The recomputed rows of market_aggregates: bars, volatility at the bucket's end, the market's context, and what trades
-- and books of the same venue say.
select
  buckets.symbol,
  buckets.timeframe,
  buckets.bucket_at,
  buckets.source,
  buckets.instrument,
  buckets.made_of_timeframe,
  buckets.open,
  buckets.high,
  buckets.low,
  buckets.close,
  buckets.volume_base,
  buckets.volume_quote,
  buckets.trade_count,
  buckets.taker_buy_base,
  volatility.realised_volatility_30m,
  volatility.realised_volatility_30m_annualised,
  volatility.grid_share_30m,
  volatility.realised_volatility_1h,
  volatility.realised_volatility_1h_annualised,
  volatility.grid_share_1h,
  volatility.realised_volatility_4h,
  volatility.realised_volatility_4h_annualised,
  volatility.grid_share_4h,
  volatility.realised_volatility_1d,
  volatility.realised_volatility_1d_annualised,
  volatility.grid_share_1d,
  eth_btc.close as eth_btc,
  dominance.btc_dominance_pct,
  dominance.btc_dominance_ex_stable_pct,
  {{ rounded('buckets.bars_observed::numeric / buckets.bars_expected', 6) }} as verified_fraction,
  flow.ticks_trade_count,
  flow.volume_concentration_top1pct,
  flow.spread_bps_mean,
  flow.imbalance_mean,
  flow.trade_bars_deviation_bps,
  flow.ticks_verified_fraction,
  flow.books_verified_fraction
from {{ ref('int_market__price_buckets') }} as buckets
left join {{ ref('int_market__realised_volatility') }} as volatility
  on
    buckets.symbol = volatility.symbol
    and buckets.bucket_at + {{ length_of('buckets.timeframe') }} = volatility.ends_at
left join {{ ref('int_market__price_buckets') }} as eth_btc
  on
    eth_btc.symbol = 'ETH-BTC'
    and buckets.timeframe = eth_btc.timeframe
    and buckets.bucket_at = eth_btc.bucket_at
left join {{ ref('int_market__dominance') }} as dominance
  on buckets.timeframe = dominance.timeframe and buckets.bucket_at = dominance.bucket_at
left join {{ ref('int_ticks__market_flow') }} as flow
  on
    buckets.symbol = flow.symbol
    and buckets.timeframe = flow.timeframe
    and buckets.bucket_at = flow.bucket_at
