-- What trades and books say about each bucket of market_aggregates, on the venue that its bar is from.
-- Concentration: the k = ceil(n / 100) largest of n trades by value. Each minute names its largest trades; the k largest of
-- the bucket are among them unless one that a minute left out could be larger than the k-th, and then nothing is said.
with lengths as (
  select *
  from (
    values ('1h', interval '1 hour', 60), ('4h', interval '4 hours', 240), ('1d', interval '1 day', 1440)
  ) as known (timeframe, length, minutes)
),

buckets as (
  select
    prices.symbol,
    prices.timeframe,
    prices.bucket_at,
    prices.source,
    prices.instrument,
    prices.volume_base,
    lengths.length,
    lengths.minutes
  from {{ ref('int_market__price_buckets') }} as prices
  inner join lengths on prices.timeframe = lengths.timeframe
),

trades as (
  select
    hours.source,
    hours.instrument,
    lengths.timeframe,
    date_bin(lengths.length, hours.bucket_at, timestamptz '1970-01-01 00:00:00+00') as bucket_at,
    sum(hours.volume_base) as volume_base,
    sum(hours.volume_quote) as volume_quote,
    sum(hours.trade_count) as trade_count,
    sum(hours.verified_minutes) as verified_minutes
  from {{ ref('int_ticks__trade_hours') }} as hours
  cross join lengths
  group by 1, 2, 3, 4
),

books as (
  select
    hours.source,
    hours.instrument,
    lengths.timeframe,
    date_bin(lengths.length, hours.bucket_at, timestamptz '1970-01-01 00:00:00+00') as bucket_at,
    sum(hours.spread_bps_sum) / nullif(sum(hours.spread_minutes), 0) as spread_bps_mean,
    sum(hours.imbalance_sum) / nullif(sum(hours.imbalance_minutes), 0) as imbalance_mean,
    sum(hours.verified_minutes) as verified_minutes
  from {{ ref('int_ticks__book_hours') }} as hours
  cross join lengths
  group by 1, 2, 3, 4
),

-- The lists are long: they are read for the chosen venues only, and never copied into a work table.
minutes as (
  select
    days.source,
    days.instrument,
    bars.event_at,
    bars.largest_quote,
    bars.trade_count > coalesce(jsonb_array_length(bars.largest_quote), 0) as is_cut,
    (bars.largest_quote ->> -1)::numeric as smallest_named
  from (
    select distinct
      source,
      instrument,
      {{ day_of('bucket_at') }} as day_at
    from buckets
  ) as days
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.trade_count,
      revisions.largest_quote,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__trade_bars') }} as revisions
    where
      revisions.source = days.source
      and revisions.symbol = days.instrument
      and revisions.event_at >= days.day_at
      and revisions.event_at < days.day_at + interval '1 day'
    order by revisions.event_at, revisions.known_at desc
  ) as bars
  where not bars.is_tombstone
),

sized as (
  select distinct
    buckets.source,
    buckets.instrument,
    buckets.timeframe,
    buckets.length,
    buckets.bucket_at,
    trades.volume_quote,
    ceil(trades.trade_count / 100) as largest
  from buckets
  inner join trades using (source, instrument, timeframe, bucket_at)
  where trades.trade_count >= 100
),

left_out as (
  select
    sized.source,
    sized.instrument,
    sized.timeframe,
    sized.bucket_at,
    max(minutes.smallest_named) filter (where minutes.is_cut) as at_most,
    bool_or(minutes.is_cut and minutes.smallest_named is null) as is_unknown
  from sized
  inner join minutes
    on
      sized.source = minutes.source
      and sized.instrument = minutes.instrument
      and sized.bucket_at = date_bin(sized.length, minutes.event_at, timestamptz '1970-01-01 00:00:00+00')
  group by 1, 2, 3, 4
),

ranked as (
  select
    sized.source,
    sized.instrument,
    sized.timeframe,
    sized.bucket_at,
    sized.largest,
    sized.volume_quote,
    named.value::numeric as value_quote,
    row_number() over (
      partition by sized.source, sized.instrument, sized.timeframe, sized.bucket_at order by named.value::numeric desc
    ) as place
  from sized
  inner join minutes
    on
      sized.source = minutes.source
      and sized.instrument = minutes.instrument
      and sized.bucket_at = date_bin(sized.length, minutes.event_at, timestamptz '1970-01-01 00:00:00+00')
  cross join lateral jsonb_array_elements_text(minutes.largest_quote) as named (value)
),

concentration as (
  select
    ranked.source,
    ranked.instrument,
    ranked.timeframe,
    ranked.bucket_at,
    case
      when
        count(*) = ranked.largest
        and not left_out.is_unknown
        and coalesce(left_out.at_most <= min(ranked.value_quote), true)
        then sum(ranked.value_quote) / nullif(ranked.volume_quote, 0)
    end as share
  from ranked
  inner join left_out using (source, instrument, timeframe, bucket_at)
  where ranked.place <= ranked.largest
  group by 1, 2, 3, 4, ranked.largest, ranked.volume_quote, left_out.is_unknown, left_out.at_most
)

select
  buckets.symbol,
  timeframe,
  bucket_at,
  trades.trade_count as ticks_trade_count,
  {{ rounded('concentration.share') }} as volume_concentration_top1pct,
  {{ rounded('books.spread_bps_mean', 8) }} as spread_bps_mean,
  {{ rounded('books.imbalance_mean', 8) }} as imbalance_mean,
  {{ rounded('10000 * (trades.volume_base - buckets.volume_base) / nullif(buckets.volume_base, 0)', 4) }} as trade_bars_deviation_bps,
  {{ rounded('trades.verified_minutes / buckets.minutes', 6) }} as ticks_verified_fraction,
  {{ rounded('books.verified_minutes / buckets.minutes', 6) }} as books_verified_fraction
from buckets
left join trades using (source, instrument, timeframe, bucket_at)
left join books using (source, instrument, timeframe, bucket_at)
left join concentration using (source, instrument, timeframe, bucket_at)
where trades.bucket_at is not null or books.bucket_at is not null
