-- Newest revision of the minute bars made of trades, in the touched days.
select
  days.source,
  days.instrument,
  bars.event_at,
  bars.open,
  bars.high,
  bars.low,
  bars.close,
  bars.volume_base,
  bars.volume_quote,
  bars.buy_base,
  bars.sell_base,
  bars.trade_count
from {{ ref('int_ticks__instrument_days') }} as days
cross join lateral (
  select distinct on (revisions.event_at)
    revisions.event_at,
    revisions.open,
    revisions.high,
    revisions.low,
    revisions.close,
    revisions.volume_base,
    revisions.volume_quote,
    revisions.buy_base,
    revisions.sell_base,
    revisions.trade_count,
    revisions.is_tombstone
  from {{ ref('stg_exchanges__trade_bars') }} as revisions
  where
    revisions.source = days.source
    and revisions.symbol = days.instrument
    and revisions.event_at >= days.day_at
    and revisions.event_at < days.day_at + interval '1 day'
  order by revisions.event_at, revisions.known_at desc
) as bars
where not bars.is_tombstone
