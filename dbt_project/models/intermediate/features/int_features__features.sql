-- The recomputed rows of planner_features: one per symbol, feature, granularity and bucket. Hourly features are rolled
-- up to 4 hours and a day as their definition says, when the longer bucket is over.
with natural_grain as (
  select
    mart_rows.symbol,
    definitions.feature || coalesce('_' || mart_rows.venue, '') as feature,
    mart_rows.granularity,
    mart_rows.bucket_at,
    trim_scale((mart_rows.fields ->> definitions.column_name)::numeric) as value,
    coalesce((mart_rows.fields ->> definitions.verified_by)::numeric, 1) as verified_fraction,
    definitions.rollup
  from {{ ref('int_features__mart_rows') }} as mart_rows
  inner join {{ ref('feature_definitions') }} as definitions on mart_rows.mart = definitions.mart
  where mart_rows.fields ->> definitions.column_name is not null
),

rolled_up as (
  select
    hourly.symbol,
    hourly.feature,
    lengths.granularity,
    date_bin(lengths.length, hourly.bucket_at, timestamptz '1970-01-01 00:00:00+00') as bucket_at,
    case hourly.rollup
      when 'sum' then sum(hourly.value)
      when 'total' then sum(hourly.value)
      when 'mean' then {{ rounded('avg(hourly.value)') }}
      else (array_agg(hourly.value order by hourly.bucket_at desc))[1]
    end as value,
    case hourly.rollup
      when 'last' then (array_agg(hourly.verified_fraction order by hourly.bucket_at desc))[1]
      -- An hour that is not there is not verified.
      when 'total' then {{ rounded('sum(hourly.verified_fraction) * 3600 / extract(epoch from lengths.length)', 6) }}
      else {{ rounded('avg(hourly.verified_fraction)', 6) }}
    end as verified_fraction
  from natural_grain as hourly
  cross join (values ('4h', interval '4 hours'), ('1d', interval '1 day')) as lengths (granularity, length)
  where
    hourly.granularity = '1h'
    and hourly.rollup <> 'none'
    and date_bin(lengths.length, hourly.bucket_at, timestamptz '1970-01-01 00:00:00+00') + lengths.length <= {{ as_of() }}
  group by 1, 2, 3, 4, hourly.rollup, lengths.length
)

select
  symbol,
  feature,
  granularity,
  bucket_at,
  value,
  verified_fraction
from natural_grain
union all
select
  symbol,
  feature,
  granularity,
  bucket_at,
  value,
  verified_fraction
from rolled_up
