-- The recomputed rows of planner_macro: per day the observation in force (the last one of at most ten days ago, newest
-- vintage) of each series, and the market's capitalisation at the day's end.
with series as (
  select *
  from (
    values ('DGS10', 'treasury_10y'), ('DGS2', 'treasury_2y'), ('DFF', 'fed_funds'), ('DTWEXBGS', 'dollar_index')
  ) as known (series_id, name)
),

observations as (
  select
    ranges.starts_at,
    ranges.ends_at,
    series.name,
    newest.event_at,
    newest.value
  from {{ ref('int_context__touched_ranges') }} as ranges
  cross join series
  cross join lateral (
    -- Newest revision of each vintage, then the newest vintage.
    select distinct on (vintages.event_at)
      vintages.event_at,
      vintages.value
    from (
      select distinct on (revisions.event_at, revisions.published_at)
        revisions.event_at,
        revisions.published_at,
        revisions.known_at,
        revisions.value,
        revisions.is_tombstone
      from {{ ref('stg_macro__series_observations') }} as revisions
      where
        revisions.source = 'fred'
        and revisions.symbol = 'global'
        and revisions.series_id = series.series_id
        and revisions.event_at >= ranges.starts_at - interval '10 days'
        and revisions.event_at < ranges.ends_at
      order by revisions.event_at, revisions.published_at, revisions.known_at desc
    ) as vintages
    where not vintages.is_tombstone and vintages.value is not null
    order by vintages.event_at, vintages.published_at desc nulls last, vintages.known_at desc
  ) as newest
  where ranges.mart = 'planner_macro'
),

in_force as (
  select distinct on (observations.name, days.bucket_at)
    observations.name,
    days.bucket_at,
    observations.value,
    observations.event_at
  from observations
  cross join lateral generate_series(
    greatest({{ day_of('observations.event_at') }}, observations.starts_at),
    least({{ day_of("observations.event_at + interval '10 days'") }}, observations.ends_at - interval '1 day'),
    interval '1 day'
  ) as days (bucket_at)
  order by observations.name, days.bucket_at, observations.event_at desc
),

rates as (
  select
    bucket_at,
    max(event_at) as newest_observation_at,
    max(value) filter (where name = 'treasury_10y') as treasury_10y_pct,
    max(value) filter (where name = 'treasury_2y') as treasury_2y_pct,
    max(value) filter (where name = 'fed_funds') as fed_funds_pct,
    max(value) filter (where name = 'dollar_index') as dollar_index
  from in_force
  group by 1
),

caps as (
  select
    {{ day_of('newest.event_at') }} as bucket_at,
    assets.symbol,
    newest.event_at,
    newest.market_cap_usd,
    newest.volume_24h_usd,
    newest.dominance_pct
  from {{ ref('int_context__touched_ranges') }} as ranges
  cross join (
    values ('global'), ('BTC'), ('ETH'){% for coin in var('stablecoins') %}, ('{{ coin }}'){% endfor %}
  ) as assets (symbol)
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.market_cap_usd,
      revisions.volume_24h_usd,
      revisions.dominance_pct,
      revisions.is_tombstone
    from {{ ref('stg_macro__market_caps') }} as revisions
    where
      revisions.source = 'coingecko'
      and revisions.symbol = assets.symbol
      and revisions.event_at >= ranges.starts_at
      and revisions.event_at < ranges.ends_at
    order by revisions.event_at, revisions.known_at desc
  ) as newest
  where ranges.mart = 'planner_macro' and not newest.is_tombstone
),

daily_caps as (
  select
    bucket_at,
    (array_agg(market_cap_usd order by event_at desc) filter (where symbol = 'global'))[1] as total_market_cap_usd,
    (array_agg(volume_24h_usd order by event_at desc) filter (where symbol = 'global'))[1] as total_volume_24h_usd,
    (array_agg(market_cap_usd order by event_at desc) filter (where symbol = 'BTC'))[1] as btc_market_cap_usd,
    (array_agg(market_cap_usd order by event_at desc) filter (where symbol = 'ETH'))[1] as eth_market_cap_usd
  from caps
  group by 1
),

-- Shares must be of one snapshot.
shares as (
  select distinct on (bucket_at)
    bucket_at,
    btc_pct,
    stable_pct
  from (
    select
      bucket_at,
      event_at,
      max(dominance_pct) filter (where symbol = 'BTC') as btc_pct,
      sum(dominance_pct) filter (where symbol not in ('BTC', 'ETH', 'global')) as stable_pct
    from caps
    group by 1, 2
  ) as snapshots
  where btc_pct is not null
  order by bucket_at, event_at desc
)

select
  'global' as symbol,
  bucket_at,
  rates.newest_observation_at,
  rates.treasury_10y_pct,
  rates.treasury_2y_pct,
  rates.treasury_10y_pct - rates.treasury_2y_pct as yield_curve_10y_2y_pct,
  rates.fed_funds_pct,
  rates.dollar_index,
  daily_caps.total_market_cap_usd,
  daily_caps.total_volume_24h_usd,
  daily_caps.btc_market_cap_usd,
  daily_caps.eth_market_cap_usd,
  {{ rounded('coalesce(shares.btc_pct, 100 * daily_caps.btc_market_cap_usd / nullif(daily_caps.total_market_cap_usd, 0))', 6) }} as btc_dominance_pct,
  {{ rounded('100 * shares.btc_pct / nullif(100 - shares.stable_pct, 0)', 6) }} as btc_dominance_ex_stable_pct
from rates
full outer join daily_caps using (bucket_at)
left join shares using (bucket_at)
where bucket_at + interval '1 day' <= {{ as_of() }}
