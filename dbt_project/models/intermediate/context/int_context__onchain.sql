-- The recomputed rows of planner_onchain: one per day, from the provider's snapshots of that day.
with tvl as (
  select
    ranges.starts_at,
    ranges.ends_at,
    newest.event_at,
    newest.scope,
    newest.tvl_usd
  from {{ ref('int_context__touched_ranges') }} as ranges
  cross join (values ('all'), ('chain:Ethereum'), ('chain:Solana'), ('chain:Bitcoin')) as scopes (scope)
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.scope,
      revisions.tvl_usd,
      revisions.is_tombstone
    from {{ ref('stg_onchain__tvl') }} as revisions
    where
      revisions.source = 'defillama'
      and revisions.symbol = 'global'
      and revisions.scope = scopes.scope
      and revisions.event_at >= ranges.starts_at
      and revisions.event_at < ranges.ends_at
    order by revisions.event_at, revisions.known_at desc
  ) as newest
  where ranges.mart = 'planner_onchain' and not newest.is_tombstone
),

supply as (
  select
    ranges.starts_at,
    ranges.ends_at,
    coins.symbol as coin,
    newest.event_at,
    coalesce(newest.circulating_usd, newest.circulating) as supply_usd
  from {{ ref('int_context__touched_ranges') }} as ranges
  cross join (values ('global'), ('USDT'), ('USDC')) as coins (symbol)
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.circulating,
      revisions.circulating_usd,
      revisions.is_tombstone
    from {{ ref('stg_onchain__stablecoin_supply') }} as revisions
    where
      revisions.source = 'defillama'
      and revisions.symbol = coins.symbol
      and revisions.event_at >= ranges.starts_at - interval '7 days'
      and revisions.event_at < ranges.ends_at
    order by revisions.event_at, revisions.known_at desc
  ) as newest
  where ranges.mart = 'planner_onchain' and not newest.is_tombstone
),

daily_tvl as (
  select
    starts_at,
    ends_at,
    {{ day_of('event_at') }} as bucket_at,
    {% for name, scope in {
      'tvl_usd': 'all',
      'tvl_ethereum_usd': 'chain:Ethereum',
      'tvl_solana_usd': 'chain:Solana',
      'tvl_bitcoin_usd': 'chain:Bitcoin',
    }.items() -%}
    (array_agg(tvl_usd order by event_at desc) filter (where scope = '{{ scope }}'))[1] as {{ name }}{{ ',' if not loop.last }}
    {% endfor %}
  from tvl
  group by 1, 2, 3
),

daily_supply as (
  select
    starts_at,
    ends_at,
    {{ day_of('event_at') }} as bucket_at,
    {% for name, coin in {'stablecoin_supply_usd': 'global', 'usdt_supply_usd': 'USDT', 'usdc_supply_usd': 'USDC'}.items() -%}
    (array_agg(supply_usd order by event_at desc) filter (where coin = '{{ coin }}'))[1] as {{ name }}{{ ',' if not loop.last }}
    {% endfor %}
  from supply
  group by 1, 2, 3
),

compared as (
  select
    today.*,
    today.stablecoin_supply_usd - week_ago.stablecoin_supply_usd as stablecoin_supply_change_7d_usd
  from daily_supply as today
  left join daily_supply as week_ago
    on today.starts_at = week_ago.starts_at and today.bucket_at = week_ago.bucket_at + interval '7 days'
  where today.bucket_at >= today.starts_at
)

select
  'global' as symbol,
  bucket_at,
  daily_tvl.tvl_usd,
  daily_tvl.tvl_ethereum_usd,
  daily_tvl.tvl_solana_usd,
  daily_tvl.tvl_bitcoin_usd,
  compared.stablecoin_supply_usd,
  compared.usdt_supply_usd,
  compared.usdc_supply_usd,
  compared.stablecoin_supply_change_7d_usd
from daily_tvl
full outer join compared using (starts_at, ends_at, bucket_at)
where bucket_at + interval '1 day' <= {{ as_of() }}
