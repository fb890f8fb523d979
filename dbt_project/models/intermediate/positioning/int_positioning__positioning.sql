-- The recomputed rows of planner_positioning: one per planner symbol and hour over the venues that feed it. Rates are
-- brought to one length before they are compared; coverage says how many of the feeding venues took part. The session's
-- volume delta starts at 00:00 UTC and ends with the first hour that has none.
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
    {{ median('basis_bps') }} as basis_bps_median,
    count(cvd_delta_base) as cvd_venues,
    sum(cvd_delta_base) as cvd_delta_base,
    sum(ticks_verified_fraction) as ticks_verified,
    sum(liquidated_long_usd) as liquidated_long_usd,
    sum(liquidated_short_usd) as liquidated_short_usd,
    bool_or(liquidations_sampled) as liquidations_sampled,
    sum(liquidations_watched_fraction) as liquidations_watched
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
  {{ rounded('hours.basis_bps_median', 8) }} as basis_bps_median,
  case when hours.ticks_verified is not null then {{ rounded('hours.cvd_venues::numeric / venues.venues', 6) }} end as cvd_coverage,
  hours.cvd_delta_base,
  -- Of the hours' deltas, not of the venues' sums: a venue that falls out adds nothing more and takes nothing away.
  case
    when count(hours.cvd_delta_base) over session = extract(hour from hours.bucket_at) + 1
      then sum(hours.cvd_delta_base) over session
  end as cvd_session_base,
  {{ rounded('hours.ticks_verified / venues.venues', 6) }} as ticks_verified_fraction,
  case
    when count(hours.ticks_verified) over session > 0
      then {{ rounded('sum(hours.ticks_verified) over session / venues.venues / (extract(hour from hours.bucket_at) + 1)', 6) }}
  end as cvd_session_verified_fraction,
  hours.liquidated_long_usd,
  hours.liquidated_short_usd,
  hours.liquidations_sampled,
  {{ rounded('hours.liquidations_watched / venues.venues', 6) }} as liquidations_watched_fraction
from hours
inner join venues on hours.symbol = venues.symbol
window session as (partition by hours.symbol, {{ day_of('hours.bucket_at') }} order by hours.bucket_at)
