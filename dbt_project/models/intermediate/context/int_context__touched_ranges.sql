{{ config(post_hook="{{ mark_run() }}") }}
-- Which days the marts of the group must recompute: those of new raw rows, those whose values look back at them, and
-- those that ended since the last run.
with new_articles as (
  -- A revision may move an article to another hour: the days of all its revisions are touched.
  select {{ day_of('revisions.event_at') }} as day_at
  from {{ ref('stg_news__articles') }} as arrived
  inner join {{ ref('stg_news__articles') }} as revisions using (source, symbol, article_id)
  where arrived.known_at > {{ watermark('planner_sentiment') }}
  group by 1
),

new_onchain as (
  select {{ day_of('event_at') }} as day_at
  from {{ ref('stg_onchain__tvl') }}
  where known_at > {{ watermark('planner_onchain') }}
  group by 1
  union
  select {{ day_of('event_at') }}
  from {{ ref('stg_onchain__stablecoin_supply') }}
  where known_at > {{ watermark('planner_onchain') }}
  group by 1
),

new_macro as (
  -- A value stays in force until the next observation, for at most ten days.
  select
    {{ day_of('event_at') }} as first_day,
    {{ day_of("event_at + interval '10 days'") }} as last_day
  from {{ ref('stg_macro__series_observations') }}
  where known_at > {{ watermark('planner_macro') }}
  group by 1, 2
  union
  select
    {{ day_of('event_at') }},
    {{ day_of('event_at') }}
  from {{ ref('stg_macro__market_caps') }}
  where known_at > {{ watermark('planner_macro') }}
  group by 1, 2
),

spans as (
  select
    'planner_sentiment' as mart,
    'global' as symbol,
    day_at as first_day,
    day_at as last_day
  from new_articles
  union all
  select
    'planner_onchain',
    'global',
    day_at,
    -- The change over seven days looks back at it.
    least(day_at + interval '7 days', {{ day_of(as_of()) }})
  from new_onchain
  union all
  select
    'planner_macro',
    'global',
    first_day,
    least(last_day, {{ day_of(as_of()) }})
  from new_macro
  {% for mart in ['planner_sentiment', 'planner_onchain', 'planner_macro'] -%}
  union all
  select
    '{{ mart }}',
    'global',
    first_day,
    last_day
  from (
    {{ days_since_last_run(mart) }}
    union all
    select
      timestamptz '{{ var("touch_since") or "infinity" }}',
      {{ day_of(as_of()) }}
    where '{{ var("touch_since") }}' <> ''
  ) as passed
  {% endfor %}
),

everything as (
  select
    mart,
    'global' as symbol
  from (values ('planner_sentiment'), ('planner_onchain'), ('planner_macro')) as marts (mart)
)

{{ ranges_of('spans', 'everything') }}
