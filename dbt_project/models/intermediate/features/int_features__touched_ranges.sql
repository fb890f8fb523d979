{{ config(post_hook="{{ mark_run() }}") }}
-- Which days of which symbol of planner_features must be recomputed: those of new versions in the marts that feed it,
-- and those that ended since the last run, so that longer buckets appear when they are over.
{% set marts = [
  'market_aggregates',
  'positioning_by_venue',
  'planner_positioning',
  'volatility_surface',
  'planner_sentiment',
  'planner_onchain',
  'planner_macro',
] -%}
with new_versions as (
  {% for mart in marts -%}
  select
    '{{ mart }}' as mart,
    symbol,
    {{ day_of('bucket_at') }} as day_at
  from {{ ref(mart) }}
  where known_at > {{ watermark('planner_features') }} and known_at <= {{ as_of() }}
  group by 1, 2, 3
  {{ 'union all' if not loop.last }}
  {% endfor %}
),

-- Sentiment is told per asset, and read per planner symbol.
per_planner_symbol as (
  select
    coalesce(planner.planner_symbol, new_versions.symbol) as symbol,
    new_versions.day_at
  from new_versions
  left join (select distinct planner_symbol from {{ ref('stg_registry__planner_symbols') }}) as planner
    on new_versions.mart = 'planner_sentiment' and split_part(planner.planner_symbol, '-', 1) = new_versions.symbol
),

spans as (
  select
    'planner_features' as mart,
    symbol,
    day_at as first_day,
    day_at as last_day
  from per_planner_symbol
  union all
  select
    'planner_features',
    symbols.symbol,
    passed.first_day,
    passed.last_day
  from (
    {{ days_since_last_run('planner_features') }}
    union all
    select
      timestamptz '{{ var("touch_since") or "infinity" }}',
      {{ day_of(as_of()) }}
    where '{{ var("touch_since") }}' <> ''
  ) as passed
  cross join (
    select planner_symbol as symbol from {{ ref('stg_registry__planner_symbols') }}
    union
    select 'global'
  ) as symbols
),

everything as (
  select
    'planner_features' as mart,
    planner_symbol as symbol
  from {{ ref('stg_registry__planner_symbols') }}
  union
  select
    'planner_features',
    'global'
)

{{ ranges_of('spans', 'everything') }}
