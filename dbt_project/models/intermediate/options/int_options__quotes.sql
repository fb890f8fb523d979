-- The last quote of each option in each touched hour, with its log-moneyness to the venue's forward, time to expiry in
-- years of 365.25 days, and Black forward delta (not premium-adjusted) at the mark volatility.
with quotes as (
  select distinct on (ranges.symbol, hours.bucket_at, revisions.symbol)
    ranges.symbol,
    hours.bucket_at,
    revisions.symbol as option,
    revisions.event_at,
    revisions.expires_at,
    revisions.strike,
    revisions.option_type,
    revisions.underlying_price,
    revisions.mark_iv_pct,
    revisions.is_tombstone
  from {{ ref('int_market__touched_ranges') }} as ranges
  inner join {{ ref('stg_registry__planner_symbols') }} as feeders
    on ranges.symbol = feeders.planner_symbol and feeders.role = 'options'
  inner join {{ ref('stg_exchanges__option_quotes') }} as revisions
    on
      feeders.instrument = revisions.underlying
      and feeders.source = revisions.source
      and revisions.event_at >= ranges.starts_at
      and revisions.event_at < least(ranges.ends_at, {{ hour_of(as_of()) }})
  cross join lateral (select {{ hour_of('revisions.event_at') }} as bucket_at) as hours
  where ranges.mart = 'volatility_surface'
  order by ranges.symbol, hours.bucket_at, revisions.symbol, revisions.event_at desc, revisions.known_at desc
),

measured as (
  select
    symbol,
    bucket_at,
    event_at,
    expires_at,
    option_type,
    strike,
    extract(epoch from expires_at - event_at)::double precision / (365.25 * 86400) as years,
    ln(strike::double precision / underlying_price::double precision) as moneyness,
    mark_iv_pct::double precision as iv_pct
  from quotes
  where
    not is_tombstone
    and mark_iv_pct > 0
    and underlying_price > 0
    and strike > 0
    -- Quotes of the last day are about the fixing, not about volatility.
    and expires_at > event_at + interval '1 day'
)

select
  symbol,
  bucket_at,
  event_at,
  expires_at,
  option_type,
  strike,
  years,
  moneyness,
  iv_pct,
  -- N(d1) for a call, N(d1) - 1 for a put.
  0.5 * (1 + erf((-moneyness + power(iv_pct / 100, 2) * years / 2) / (iv_pct / 100 * sqrt(years)) / sqrt(2)))
  - case option_type when 'put' then 1 else 0 end as delta
from measured
