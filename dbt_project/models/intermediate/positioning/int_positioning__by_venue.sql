-- The recomputed rows of positioning_by_venue: an hour has a row for a venue that says anything about it.
select
  symbol,
  source,
  instrument,
  bucket_at,
  funding.funding_rate,
  funding.funding_settled_at,
  funding.funding_interval_hours,
  {{ apr('funding.funding_rate', 'funding.funding_interval_hours') }} as funding_apr,
  -- Compounding a rate that is not plausible would only make an astronomical number.
  case
    when abs(funding.funding_rate) <= 0.05
      then {{ rounded('power(1 + funding.funding_rate, 8760 / funding.funding_interval_hours) - 1') }}
  end as funding_apy,
  funding.funding_rate_settled,
  coalesce(funding.settled_flips, 0) as settled_flips,
  funding.predicted_funding_rate,
  funding.predicted_interval_hours,
  {{ apr('funding.predicted_funding_rate', 'funding.predicted_interval_hours') }} as predicted_funding_apr,
  coalesce(funding.predicted_flips, 0) as predicted_flips,
  interest.open_interest_base,
  interest.open_interest_usd,
  interest.open_interest_observed_at,
  interest.long_short_global_accounts,
  interest.long_short_top_accounts,
  interest.long_short_top_positions,
  interest.long_short_taker_volume,
  basis.perpetual_close,
  basis.spot_close,
  basis.spot_source,
  basis.basis_bps,
  flow.cvd_delta_base,
  flow.cvd_session_base,
  flow.ticks_verified_fraction,
  flow.cvd_session_verified_fraction,
  flow.liquidated_long_usd,
  flow.liquidated_short_usd,
  flow.liquidations_sampled,
  flow.liquidations_watched_fraction
from {{ ref('int_positioning__funding_hours') }} as funding
full outer join {{ ref('int_positioning__interest_hours') }} as interest using (symbol, source, instrument, bucket_at)
full outer join {{ ref('int_positioning__basis') }} as basis using (symbol, source, instrument, bucket_at)
full outer join {{ ref('int_ticks__positioning_flow') }} as flow using (symbol, source, instrument, bucket_at)
