-- Bitcoin's share of all capitalisation at the end of each bucket, with and without stablecoins in the total. The
-- provider's own share where it states one, else the ratio of the capitalisations.
with days as (
  select
    starts_at,
    ends_at
  from {{ ref('int_market__touched_ranges') }}
  where mart = 'market_aggregates' and symbol = 'ETH-BTC'
),

caps as (
  select
    newest.event_at,
    assets.symbol,
    newest.market_cap_usd,
    newest.dominance_pct
  from days
  cross join (
    values ('global'), ('BTC'){% for coin in var('stablecoins') %}, ('{{ coin }}'){% endfor %}
  ) as assets (symbol)
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.market_cap_usd,
      revisions.dominance_pct,
      revisions.is_tombstone
    from {{ ref('stg_macro__market_caps') }} as revisions
    where
      revisions.source = 'coingecko'
      and revisions.symbol = assets.symbol
      and revisions.event_at >= days.starts_at
      and revisions.event_at < days.ends_at
    order by revisions.event_at, revisions.known_at desc
  ) as newest
  where not newest.is_tombstone
),

snapshots as (
  select
    event_at,
    max(dominance_pct) filter (where symbol = 'BTC') as stated_pct,
    max(market_cap_usd) filter (where symbol = 'BTC') as bitcoin_usd,
    max(market_cap_usd) filter (where symbol = 'global') as total_usd,
    sum(dominance_pct) filter (where symbol not in ('BTC', 'global')) as stable_pct
  from caps
  group by event_at
),

shares as (
  select
    event_at,
    coalesce(stated_pct, 100 * bitcoin_usd / nullif(total_usd, 0)) as btc_pct,
    stable_pct
  from snapshots
),

lengths as (
  select *
  from (values ('1h', interval '1 hour'), ('4h', interval '4 hours'), ('1d', interval '1 day')) as known (timeframe, length)
)

select distinct on (lengths.timeframe, date_bin(lengths.length, shares.event_at, timestamptz '1970-01-01 00:00:00+00'))
  lengths.timeframe,
  date_bin(lengths.length, shares.event_at, timestamptz '1970-01-01 00:00:00+00') as bucket_at,
  {{ rounded('shares.btc_pct', 6) }} as btc_dominance_pct,
  {{ rounded('100 * shares.btc_pct / nullif(100 - shares.stable_pct, 0)', 6) }} as btc_dominance_ex_stable_pct
from shares
cross join lengths
where shares.btc_pct is not null
order by 1, 2, shares.event_at desc
