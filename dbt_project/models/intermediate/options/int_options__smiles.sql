-- Three points of each expiry's smile: at the money (total variance linear in log-moneyness to 0) and the 25-delta call
-- and put (volatility linear in delta). A point needs a quote on either side of it; nothing is extrapolated.
with points as (
  -- Call and put of one strike count once.
  select
    symbol,
    bucket_at,
    expires_at,
    'atm' as pillar,
    avg(years) as years,
    moneyness as x,
    avg(iv_pct) as iv_pct,
    0.0::double precision as target
  from {{ ref('int_options__quotes') }}
  group by symbol, bucket_at, expires_at, moneyness
  union all
  select
    symbol,
    bucket_at,
    expires_at,
    case option_type when 'call' then 'call_25' else 'put_25' end,
    years,
    delta,
    iv_pct,
    case option_type when 'call' then 0.25 else -0.25 end
  from {{ ref('int_options__quotes') }}
),

below as (
  select distinct on (symbol, bucket_at, expires_at, pillar) *
  from points
  where x <= target
  order by symbol, bucket_at, expires_at, pillar, x desc, iv_pct
),

above as (
  select distinct on (symbol, bucket_at, expires_at, pillar) *
  from points
  where x >= target
  order by symbol, bucket_at, expires_at, pillar, x, iv_pct
)

select
  below.symbol,
  below.bucket_at,
  below.expires_at,
  below.pillar,
  (below.years + above.years) / 2 as years,
  case
    when above.x = below.x then below.iv_pct
    when below.pillar = 'atm'
      then sqrt(
        power(below.iv_pct, 2)
        + (power(above.iv_pct, 2) - power(below.iv_pct, 2)) * (below.target - below.x) / (above.x - below.x)
      )
    else below.iv_pct + (above.iv_pct - below.iv_pct) * (below.target - below.x) / (above.x - below.x)
  end as iv_pct
from below
inner join above using (symbol, bucket_at, expires_at, pillar)
