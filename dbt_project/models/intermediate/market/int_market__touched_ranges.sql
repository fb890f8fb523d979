{{ config(post_hook="{{ mark_run() }}") }}
-- Which days of which planner symbol each mart of the group must recompute: those of new raw rows, and those whose
-- values look back at them. ETH/BTC and dominance stand in every row of market_aggregates, so they touch all symbols.
with feeders as (
  select distinct
    planner_symbol,
    role,
    source,
    instrument
  from {{ ref('stg_registry__planner_symbols') }}
),

price_symbols as (
  select distinct planner_symbol
  from feeders
  where role = 'price'
),

options_symbols as (
  select distinct planner_symbol
  from feeders
  where role = 'options'
),

new_bars as (
  select
    source,
    symbol,
    timeframe,
    {{ day_of('event_at') }} as day_at
  from {{ ref('stg_exchanges__ohlcv') }}
  where known_at > least({{ watermark('market_aggregates') }}, {{ watermark('positioning_by_venue') }}) and timeframe in ('1m', '1h', '8h')
  group by 1, 2, 3, 4
),

new_caps as (
  select {{ day_of('event_at') }} as day_at
  from {{ ref('stg_macro__market_caps') }}
  where known_at > {{ watermark('market_aggregates') }}
  group by 1
),

-- What the live feeds brought; a verdict that is revised touches its minute's day, as new trades would.
new_ticks as (
  select
    'trades' as channel,
    source,
    symbol,
    {{ day_of('event_at') }} as day_at
  from {{ ref('stg_exchanges__trade_bars') }}
  where known_at > least({{ watermark('market_aggregates') }}, {{ watermark('positioning_by_venue') }})
  group by 1, 2, 3, 4
  union all
  select
    'orderbook',
    source,
    symbol,
    {{ day_of('event_at') }}
  from {{ ref('stg_exchanges__order_books') }}
  where known_at > {{ watermark('market_aggregates') }}
  group by 1, 2, 3, 4
  union all
  select
    'liquidations',
    source,
    symbol,
    {{ day_of('event_at') }}
  from {{ ref('stg_exchanges__liquidations') }}
  where known_at > least({{ watermark('positioning_by_venue') }}, {{ watermark('liquidation_heatmap') }})
  group by 1, 2, 3, 4
  union all
  select
    channel,
    venue,
    symbol,
    {{ day_of('minute') }}
  from {{ ref('stg_ops__stream_verdicts') }}
  where
    recorded_at > least(
      {{ watermark('market_aggregates') }}, {{ watermark('positioning_by_venue') }}, {{ watermark('liquidation_heatmap') }}
    )
    and channel in ('trades', 'orderbook', 'liquidations')
  group by 1, 2, 3, 4
),

asked_since as (
  select timestamptz '{{ var("touch_since") or "infinity" }}' as day_at
),

price_days as (
  select
    feeders.planner_symbol as symbol,
    new_bars.day_at as first_day,
    -- A minute is part of the realised volatility of the next 24 hours.
    new_bars.day_at + case new_bars.timeframe when '1m' then interval '1 day' else interval '0' end as last_day,
    feeders.planner_symbol = 'ETH-BTC' and new_bars.timeframe <> '1m' as is_context
  from new_bars
  inner join feeders
    on feeders.role = 'price' and new_bars.source = feeders.source and new_bars.symbol = feeders.instrument
),

market_spans as (
  select
    symbol,
    first_day,
    last_day
  from price_days
  union all
  select
    feeders.planner_symbol,
    new_ticks.day_at,
    new_ticks.day_at
  from new_ticks
  inner join feeders
    on feeders.role = 'price' and new_ticks.source = feeders.source and new_ticks.symbol = feeders.instrument
  where new_ticks.channel in ('trades', 'orderbook')
  union all
  select
    symbols.planner_symbol,
    context.first_day,
    context.last_day
  from (
    select
      first_day,
      last_day
    from price_days
    where is_context
    union all
    select
      day_at,
      day_at
    from new_caps
    union all
    select
      day_at,
      {{ day_of(as_of()) }}
    from asked_since
    where day_at < timestamptz 'infinity'
  ) as context
  cross join price_symbols as symbols
),

perpetuals as (
  select
    feeders.planner_symbol,
    feeders.source,
    feeders.instrument,
    instruments.base || '-' || instruments.quote as spot
  from feeders
  left join {{ ref('stg_registry__instruments') }} as instruments
    on feeders.source = instruments.source and feeders.instrument = instruments.symbol
  where feeders.role = 'positioning'
),

new_positions as (
  select
    source,
    symbol,
    {{ day_of("case kind when 'settled' then event_at else received_at end") }} as first_day,
    -- A print decides whether the next one outside of the dead band is a flip.
    {{ day_of("case kind when 'settled' then event_at else received_at end") }}
    + interval '{{ var("flip_memory_days") }} days' as last_day
  from {{ ref('stg_exchanges__funding_rates') }}
  where known_at > {{ watermark('positioning_by_venue') }}
  group by 1, 2, 3, 4
  union all
  select
    source,
    symbol,
    {{ day_of('event_at') }},
    {{ day_of("event_at + interval '2 hours'") }}
  from {{ ref('stg_exchanges__open_interest') }}
  where known_at > {{ watermark('positioning_by_venue') }}
  group by 1, 2, 3, 4
  union all
  select
    source,
    symbol,
    {{ day_of('event_at') }},
    {{ day_of("event_at + interval '2 hours'") }}
  from {{ ref('stg_exchanges__long_short_ratios') }}
  where known_at > {{ watermark('positioning_by_venue') }}
  group by 1, 2, 3, 4
  union all
  select
    source,
    symbol,
    day_at,
    day_at
  from new_bars
  where timeframe <> '1m'
  union all
  select
    source,
    symbol,
    day_at,
    day_at
  from new_ticks
  where channel in ('trades', 'liquidations')
),

positioning_spans as (
  select
    perpetuals.planner_symbol as symbol,
    new_positions.first_day,
    least(new_positions.last_day, {{ day_of(as_of()) }}) as last_day
  from new_positions
  inner join perpetuals
    on new_positions.source = perpetuals.source and new_positions.symbol = perpetuals.instrument
  union all
  -- The spot of the basis comes from any venue that quotes the same pair.
  select
    perpetuals.planner_symbol,
    new_bars.day_at,
    new_bars.day_at
  from new_bars
  inner join feeders
    on feeders.role = 'price' and new_bars.source = feeders.source and new_bars.symbol = feeders.instrument
  inner join perpetuals on feeders.planner_symbol = perpetuals.spot
  where new_bars.timeframe <> '1m'
  union all
  select
    symbols.planner_symbol,
    passed.first_day,
    passed.last_day
  from (
    {{ days_since_last_run('positioning_by_venue') }}
    union all
    select
      day_at,
      {{ day_of(as_of()) }}
    from asked_since
    where day_at < timestamptz 'infinity'
  ) as passed
  cross join (select distinct planner_symbol from perpetuals) as symbols
),

liquidation_spans as (
  select
    perpetuals.planner_symbol as symbol,
    new_ticks.day_at as first_day,
    new_ticks.day_at as last_day
  from new_ticks
  inner join perpetuals
    on new_ticks.source = perpetuals.source and new_ticks.symbol = perpetuals.instrument
  where new_ticks.channel = 'liquidations'
  union all
  select
    symbols.planner_symbol,
    passed.first_day,
    passed.last_day
  from (
    {{ days_since_last_run('liquidation_heatmap') }}
    union all
    select
      day_at,
      {{ day_of(as_of()) }}
    from asked_since
    where day_at < timestamptz 'infinity'
  ) as passed
  cross join (select distinct planner_symbol from perpetuals) as symbols
),

new_options as (
  select
    source,
    underlying as asset,
    {{ day_of('event_at') }} as day_at
  from {{ ref('stg_exchanges__option_quotes') }}
  where known_at > {{ watermark('volatility_surface') }}
  group by 1, 2, 3
  union all
  select
    source,
    symbol,
    {{ day_of('event_at') }}
  from {{ ref('stg_exchanges__volatility_indices') }}
  where known_at > {{ watermark('volatility_surface') }}
  group by 1, 2, 3
),

options_spans as (
  select
    feeders.planner_symbol as symbol,
    new_options.day_at as first_day,
    new_options.day_at as last_day
  from new_options
  inner join feeders
    on feeders.role = 'options' and new_options.source = feeders.source and new_options.asset = feeders.instrument
  union all
  select
    symbols.planner_symbol,
    passed.first_day,
    passed.last_day
  from (
    {{ days_since_last_run('volatility_surface') }}
    union all
    select
      day_at,
      {{ day_of(as_of()) }}
    from asked_since
    where day_at < timestamptz 'infinity'
  ) as passed
  cross join options_symbols as symbols
),

spans as (
  select
    'market_aggregates' as mart,
    symbol,
    first_day,
    last_day
  from market_spans
  union all
  -- The context columns need the pair's own bars on every touched day.
  select
    'market_aggregates',
    'ETH-BTC',
    first_day,
    last_day
  from market_spans
  union all
  select
    marts.mart,
    positioning_spans.symbol,
    positioning_spans.first_day,
    positioning_spans.last_day
  from positioning_spans
  cross join (values ('positioning_by_venue'), ('planner_positioning')) as marts (mart)
  union all
  select
    'liquidation_heatmap',
    symbol,
    first_day,
    last_day
  from liquidation_spans
  union all
  select
    'volatility_surface',
    symbol,
    first_day,
    last_day
  from options_spans
),

everything as (
  select distinct
    roles.mart,
    feeders.planner_symbol as symbol
  from feeders
  inner join (
    values
    ('market_aggregates', 'price'),
    ('positioning_by_venue', 'positioning'),
    ('planner_positioning', 'positioning'),
    ('liquidation_heatmap', 'positioning'),
    ('volatility_surface', 'options')
  ) as roles (mart, role) on feeders.role = roles.role
  union
  select
    'market_aggregates',
    'ETH-BTC'
)

{{ ranges_of('spans', 'everything') }}
