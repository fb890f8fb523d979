-- Perpetual against spot of the same quote at the end of an hour: (F - S) / S. The same venue's spot if it has one,
-- else the best-ranked venue; both legs are closes of bars of one length that end together.
with perpetual_bars as (
  select
    perpetuals.symbol,
    perpetuals.source,
    perpetuals.instrument,
    perpetuals.spot,
    perpetuals.starts_at,
    perpetuals.ends_at,
    bars.timeframe,
    bars.event_at,
    bars.close
  from {{ ref('int_positioning__perpetuals') }} as perpetuals
  cross join lateral (
    select distinct on (revisions.timeframe, revisions.event_at)
      revisions.timeframe,
      revisions.event_at,
      revisions.close,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__ohlcv') }} as revisions
    where
      revisions.source = perpetuals.source
      and revisions.symbol = perpetuals.instrument
      and revisions.timeframe in ('1h', '8h')
      and revisions.event_at >= perpetuals.starts_at
      and revisions.event_at < perpetuals.ends_at
    order by revisions.timeframe, revisions.event_at, revisions.known_at desc
  ) as bars
  where not bars.is_tombstone
),

spots as (
  select distinct
    perpetuals.spot,
    perpetuals.starts_at,
    perpetuals.ends_at,
    feeders.source,
    feeders.instrument,
    feeders.rank
  from {{ ref('int_positioning__perpetuals') }} as perpetuals
  inner join {{ ref('stg_registry__planner_symbols') }} as feeders
    on perpetuals.spot = feeders.planner_symbol and feeders.role = 'price'
),

spot_bars as (
  select distinct on (spots.spot, spots.source, bars.timeframe, bars.event_at)
    spots.spot,
    spots.source,
    spots.rank,
    bars.timeframe,
    bars.event_at,
    bars.close
  from spots
  cross join lateral (
    select distinct on (revisions.timeframe, revisions.event_at)
      revisions.timeframe,
      revisions.event_at,
      revisions.close,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__ohlcv') }} as revisions
    where
      revisions.source = spots.source
      and revisions.symbol = spots.instrument
      and revisions.timeframe in ('1h', '8h')
      and revisions.event_at >= spots.starts_at
      and revisions.event_at < spots.ends_at
    order by revisions.timeframe, revisions.event_at, revisions.known_at desc
  ) as bars
  where not bars.is_tombstone
  order by spots.spot, spots.source, bars.timeframe, bars.event_at
)

select distinct on (perpetual_bars.symbol, perpetual_bars.source, perpetual_bars.instrument, bucket_at)
  perpetual_bars.symbol,
  perpetual_bars.source,
  perpetual_bars.instrument,
  perpetual_bars.event_at + {{ length_of('perpetual_bars.timeframe') }} - interval '1 hour' as bucket_at,
  perpetual_bars.close as perpetual_close,
  spot_bars.close as spot_close,
  spot_bars.source as spot_source,
  {{ rounded('10000 * (perpetual_bars.close - spot_bars.close) / spot_bars.close', 8) }} as basis_bps
from perpetual_bars
inner join spot_bars
  on
    perpetual_bars.spot = spot_bars.spot
    and perpetual_bars.timeframe = spot_bars.timeframe
    and perpetual_bars.event_at = spot_bars.event_at
where
  perpetual_bars.event_at + {{ length_of('perpetual_bars.timeframe') }} <= perpetual_bars.ends_at
order by
  perpetual_bars.symbol,
  perpetual_bars.source,
  perpetual_bars.instrument,
  bucket_at,
  perpetual_bars.source = spot_bars.source desc,
  spot_bars.rank,
  perpetual_bars.timeframe
