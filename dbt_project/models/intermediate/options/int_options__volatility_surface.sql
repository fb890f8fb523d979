-- The recomputed rows of volatility_surface: smiles at constant maturities (total variance linear in time between the
-- expiries on either side), and the venue's own 30-day index.
with tenors as (
  select
    days,
    days / 365.25::double precision as years
  from (values (7), (30), (90)) as known (days)
),

near as (
  select distinct on (smiles.symbol, smiles.bucket_at, smiles.pillar, tenors.days)
    smiles.symbol,
    smiles.bucket_at,
    smiles.pillar,
    tenors.days,
    tenors.years as tenor,
    smiles.years,
    smiles.iv_pct
  from {{ ref('int_options__smiles') }} as smiles
  inner join tenors on smiles.years <= tenors.years
  order by smiles.symbol, smiles.bucket_at, smiles.pillar, tenors.days, smiles.years desc
),

far as (
  select distinct on (smiles.symbol, smiles.bucket_at, smiles.pillar, tenors.days)
    smiles.symbol,
    smiles.bucket_at,
    smiles.pillar,
    tenors.days,
    smiles.years,
    smiles.iv_pct
  from {{ ref('int_options__smiles') }} as smiles
  inner join tenors on smiles.years >= tenors.years
  order by smiles.symbol, smiles.bucket_at, smiles.pillar, tenors.days, smiles.years
),

constant_maturity as (
  select
    near.symbol,
    near.bucket_at,
    near.pillar,
    near.days,
    {{ volatility_at('near.tenor', 'near.years', 'near.iv_pct', 'far.years', 'far.iv_pct') }} as iv_pct
  from near
  inner join far using (symbol, bucket_at, pillar, days)
),

surface as (
  select
    symbol,
    bucket_at,
    {% for days in [7, 30, 90] -%}
    {% for pillar in ['atm', 'call_25', 'put_25'] -%}
    max(iv_pct) filter (where days = {{ days }} and pillar = '{{ pillar }}') as {{ pillar }}_{{ days }}d{{ ',' if not (loop.last and days == 90) }}
    {% endfor -%}
    {% endfor %}
  from constant_maturity
  group by symbol, bucket_at
),

quoted as (
  select
    symbol,
    bucket_at,
    count(*) as options_quoted,
    count(distinct expires_at) as expiries_quoted,
    max(event_at) as quoted_at
  from {{ ref('int_options__quotes') }}
  group by 1, 2
),

dvol as (
  select
    ranges.symbol,
    bars.event_at as bucket_at,
    bars.close_pct as dvol_pct
  from {{ ref('int_market__touched_ranges') }} as ranges
  inner join {{ ref('stg_registry__planner_symbols') }} as feeders
    on ranges.symbol = feeders.planner_symbol and feeders.role = 'options'
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.close_pct,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__volatility_indices') }} as revisions
    where
      revisions.source = feeders.source
      and revisions.symbol = feeders.instrument
      and revisions.event_at >= ranges.starts_at
      and revisions.event_at < least(ranges.ends_at, {{ hour_of(as_of()) }})
    order by revisions.event_at, revisions.known_at desc
  ) as bars
  where ranges.mart = 'volatility_surface' and not bars.is_tombstone
)

select
  symbol,
  bucket_at,
  quoted.quoted_at,
  quoted.options_quoted,
  quoted.expiries_quoted,
  {% for days in [7, 30, 90] -%}
  {{ rounded('surface.atm_' ~ days ~ 'd', 6) }} as atm_iv_{{ days }}d_pct,
  {{ rounded('surface.call_25_' ~ days ~ 'd - surface.put_25_' ~ days ~ 'd', 6) }} as risk_reversal_25d_{{ days }}d_pct,
  {{ rounded('(surface.call_25_' ~ days ~ 'd + surface.put_25_' ~ days ~ 'd) / 2 - surface.atm_' ~ days ~ 'd', 6) }} as butterfly_25d_{{ days }}d_pct,
  {% endfor -%}
  dvol.dvol_pct
from quoted
left join surface using (symbol, bucket_at)
full outer join dvol using (symbol, bucket_at)
