-- Funding per venue and hour: what settled in the hour, and which rate was in force, settled or predicted, at its end.
-- A settled rate is in force for less than two of its intervals, a prediction until its settlement.
with in_force as (
  select
    prints.symbol,
    prints.source,
    prints.instrument,
    prints.kind,
    hours.bucket_at,
    prints.print_at,
    prints.settles_at,
    prints.rate,
    prints.interval_hours
  from {{ ref('int_positioning__funding_prints') }} as prints
  cross join lateral generate_series(
    greatest({{ hour_of('prints.print_at') }}, prints.starts_at),
    least(
      {{ hour_of('coalesce(prints.next_print_at, prints.ends_at)') }} - interval '1 hour',
      prints.ends_at - interval '1 hour',
      case prints.kind
        when 'settled' then prints.print_at + (2 * prints.interval_hours - 1)::double precision * interval '1 hour'
        else prints.settles_at
      end - interval '1 microsecond'
    ),
    interval '1 hour'
  ) as hours (bucket_at)
),

printed as (
  select
    symbol,
    source,
    instrument,
    {{ hour_of('print_at') }} as bucket_at,
    sum(rate) filter (where kind = 'settled') as funding_rate_settled,
    count(*) filter (where kind = 'settled' and is_flip) as settled_flips,
    count(*) filter (where kind = 'predicted' and is_flip) as predicted_flips
  from {{ ref('int_positioning__funding_prints') }}
  where print_at >= starts_at and print_at < ends_at
  group by 1, 2, 3, 4
),

settled as (
  select * from in_force
  where kind = 'settled'
),

predicted as (
  select * from in_force
  where kind = 'predicted'
)

select
  symbol,
  source,
  instrument,
  bucket_at,
  settled.rate as funding_rate,
  settled.print_at as funding_settled_at,
  settled.interval_hours as funding_interval_hours,
  predicted.rate as predicted_funding_rate,
  predicted.interval_hours as predicted_interval_hours,
  printed.funding_rate_settled,
  coalesce(printed.settled_flips, 0) as settled_flips,
  coalesce(printed.predicted_flips, 0) as predicted_flips
from settled
full outer join predicted using (symbol, source, instrument, bucket_at)
full outer join printed using (symbol, source, instrument, bucket_at)
