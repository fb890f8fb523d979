-- The recomputed rows of planner_positioning: one per planner symbol and hour over the venues that feed it. Rates are
-- brought to one length before they are compared; coverage says how many of the feeding venues took part.
with venues as (
  select
    planner_symbol as symbol,
    count(*) as venues
  from {{ ref('stg_registry__planner_symbols') }}
  where role = 'positioning'
  group by 1
),

hours as (
  select
    symbol,
    bucket_at,
    count(funding_apr) as funding_venues,
    {{ median('funding_apr') }} as funding_apr_median,
    {{ median('funding_rate * (8 / funding_interval_hours)') }} as funding_rate_8h_median,
    count(funding_rate_settled) as settlements,
    sum(settled_flips) as settled_flips,
    count(predicted_funding_apr) as predicted_venues,
    {{ median('predicted_funding_apr') }} as predicted_funding_apr_median,
    sum(predicted_flips) as predicted_flips,
    count(open_interest_base) as open_interest_venues,
    sum(open_interest_base) as open_interest_base,
    sum(open_interest_usd) as open_interest_usd,
    count(basis_bps) as basis_venues,
    {{ median('basis_bps') }} as basis_bps_median
  from {{ ref('int_positioning__by_venue') }}
  group by 1, 2
)

select
  hours.symbol,
  hours.bucket_at,
  hours.funding_venues,
  {{ rounded('hours.funding_venues::numeric / venues.venues', 6) }} as funding_coverage,
  {{ rounded('hours.funding_apr_median', 24) }} as funding_apr_median,
  {{ rounded('hours.funding_rate_8h_median', 24) }} as funding_rate_8h_median,
  hours.settlements,
  hours.settled_flips,
  {{ rounded('hours.predicted_venues::numeric / venues.venues', 6) }} as predicted_coverage,
  {{ rounded('hours.predicted_funding_apr_median', 24) }} as predicted_funding_apr_median,
  hours.predicted_flips,
  hours.open_interest_venues,
  {{ rounded('hours.open_interest_venues::numeric / venues.venues', 6) }} as open_interest_coverage,
  hours.open_interest_base,
  hours.open_interest_usd,
  {{ rounded('hours.basis_venues::numeric / venues.venues', 6) }} as basis_coverage,
  {{ rounded('hours.basis_bps_median', 8) }} as basis_bps_median
from hours
inner join venues on hours.symbol = venues.symbol
