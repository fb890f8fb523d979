-- Newest verdict on each minute of the streams that the touched days need. A verdict is on what the feed heard, and is there
-- before the archive; of trades the marts say no more than what raw has: with fewer than were heard the minute is suspect.
select
  days.source,
  days.instrument,
  channels.channel,
  verdicts.minute as minute_at,
  case
    when
      channels.channel = 'trades'
      and verdicts.verdict in ('verified', 'clean')
      and verdicts.events > coalesce(bars.trade_count, 0)
      then 'suspect'
    else verdicts.verdict
  end as verdict
from {{ ref('int_ticks__instrument_days') }} as days
inner join (values ('trades'), ('orderbook'), ('liquidations')) as channels (channel)
  on
    channels.channel = 'trades'
    or (channels.channel = 'orderbook' and days.feeds_price)
    or (channels.channel = 'liquidations' and days.feeds_positioning)
cross join lateral (
  select distinct on (revisions.minute)
    revisions.minute,
    revisions.verdict,
    revisions.events
  from {{ ref('stg_ops__stream_verdicts') }} as revisions
  where
    revisions.venue = days.source
    and revisions.symbol = days.instrument
    and revisions.channel = channels.channel
    and revisions.minute >= days.day_at
    and revisions.minute < days.day_at + interval '1 day'
  order by revisions.minute, revisions.recorded_at desc
) as verdicts
left join {{ ref('int_ticks__trade_minutes') }} as bars
  on days.source = bars.source and days.instrument = bars.instrument and verdicts.minute = bars.event_at
