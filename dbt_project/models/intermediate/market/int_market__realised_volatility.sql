-- Realised volatility of the windows that end with an hour, from one-minute closes of one venue:
-- sqrt(sum of squared log returns) on a grid of 1 minute (30 m, 1 h, 4 h) or 5 minutes (1 d). A return needs both of
-- its closes; nothing is filled in. The best-ranked venue that has enough of the grid counts, for each window.
with minutes as (
  select
    ranges.symbol,
    ranges.starts_at,
    feeders.rank,
    bars.event_at,
    bars.close
  from {{ ref('int_market__touched_ranges') }} as ranges
  inner join {{ ref('stg_registry__planner_symbols') }} as feeders
    on ranges.symbol = feeders.planner_symbol and feeders.role = 'price'
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.close,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__ohlcv') }} as revisions
    where
      revisions.source = feeders.source
      and revisions.symbol = feeders.instrument
      and revisions.timeframe = '1m'
      -- The first window looks back a day, and its first return five minutes more.
      and revisions.event_at >= ranges.starts_at - interval '1 day 5 minutes'
      and revisions.event_at < ranges.ends_at
    order by revisions.event_at, revisions.known_at desc
  ) as bars
  where ranges.mart = 'market_aggregates' and not bars.is_tombstone
),

-- A grid point of g minutes is the close of the minute that ends there.
grid_points as (
  select
    minutes.symbol,
    minutes.starts_at,
    minutes.rank,
    grids.minutes_apart,
    minutes.event_at,
    minutes.close
  from minutes
  cross join (values (1), (5)) as grids (minutes_apart)
  where extract(minute from minutes.event_at)::integer % grids.minutes_apart = grids.minutes_apart - 1
),

returns as (
  select
    symbol,
    starts_at,
    rank,
    minutes_apart,
    event_at,
    case
      when lag(event_at) over prior = event_at - make_interval(mins => minutes_apart)
        then power(ln((close / lag(close) over prior)::double precision), 2)::numeric
    end as squared
  from grid_points
  window prior as (partition by symbol, starts_at, rank, minutes_apart order by event_at)
),

hours as (
  select
    symbol,
    starts_at,
    rank,
    {{ hour_of('event_at') }} as hour_at,
    sum(squared) filter (where minutes_apart = 1 and extract(minute from event_at) >= 30) as squares_30m,
    count(squared) filter (where minutes_apart = 1 and extract(minute from event_at) >= 30) as cells_30m,
    sum(squared) filter (where minutes_apart = 1) as squares_1h,
    count(squared) filter (where minutes_apart = 1) as cells_1h,
    sum(squared) filter (where minutes_apart = 5) as squares_5m,
    count(squared) filter (where minutes_apart = 5) as cells_5m
  from returns
  group by 1, 2, 3, 4
),

windows as (
  select
    hours.symbol,
    hours.hour_at,
    hours.rank,
    hours.starts_at,
    spans.span,
    spans.seconds,
    case spans.span
      when '30m' then hours.squares_30m
      when '1h' then hours.squares_1h
      when '4h' then sum(hours.squares_1h) over four_hours
      else sum(hours.squares_5m) over one_day
    end as squares,
    case spans.span
      when '30m' then hours.cells_30m
      when '1h' then hours.cells_1h
      when '4h' then sum(hours.cells_1h) over four_hours
      else sum(hours.cells_5m) over one_day
    end / spans.cells::numeric as grid_share
  from hours
  cross join (values ('30m', 1800, 30), ('1h', 3600, 60), ('4h', 14400, 240), ('1d', 86400, 288)) as spans (span, seconds, cells)
  window
    four_hours as (
      partition by hours.symbol, hours.starts_at, hours.rank, spans.span
      order by hours.hour_at range between interval '3 hours' preceding and current row
    ),
    one_day as (
      partition by hours.symbol, hours.starts_at, hours.rank, spans.span
      order by hours.hour_at range between interval '23 hours' preceding and current row
    )
),

best as (
  select distinct on (symbol, hour_at, span)
    symbol,
    hour_at,
    span,
    {{ rounded('sqrt(squares)') }} as volatility,
    {{ rounded('sqrt(squares) * sqrt(365.25 * 86400 / seconds)') }} as annualised,
    {{ rounded('grid_share', 6) }} as grid_share
  from windows
  where grid_share >= {{ var('volatility_grid_share') }} and hour_at >= starts_at
  order by symbol, hour_at, span, rank
)

select
  symbol,
  hour_at + interval '1 hour' as ends_at,
  {% for span in ['30m', '1h', '4h', '1d'] -%}
  max(volatility) filter (where span = '{{ span }}') as realised_volatility_{{ span }},
  max(annualised) filter (where span = '{{ span }}') as realised_volatility_{{ span }}_annualised,
  max(grid_share) filter (where span = '{{ span }}') as grid_share_{{ span }}{{ ',' if not loop.last }}
  {% endfor %}
from best
group by symbol, hour_at
