-- Newest verdict on each minute of the streams that the touched days need.
select
  days.source,
  days.instrument,
  channels.channel,
  verdicts.minute as minute_at,
  verdicts.verdict
from {{ ref('int_ticks__instrument_days') }} as days
inner join (values ('trades'), ('orderbook'), ('liquidations')) as channels (channel)
  on
    channels.channel = 'trades'
    or (channels.channel = 'orderbook' and days.feeds_price)
    or (channels.channel = 'liquidations' and days.feeds_positioning)
cross join lateral (
  select distinct on (revisions.minute)
    revisions.minute,
    revisions.verdict
  from {{ ref('stg_ops__stream_verdicts') }} as revisions
  where
    revisions.venue = days.source
    and revisions.symbol = days.instrument
    and revisions.channel = channels.channel
    and revisions.minute >= days.day_at
    and revisions.minute < days.day_at + interval '1 day'
  order by revisions.minute, revisions.recorded_at desc
) as verdicts
