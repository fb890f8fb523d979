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

sized as (
  select
    source,
    instrument,
    timeframe,
    bucket_at,
    bucket_at + chosen.length as ends_at,
    trades.volume_quote,
    ceil(trades.trade_count / 100) as largest,
    row_number() over () as bucket_no
  from (
    select distinct
      source,
      instrument,
      timeframe,
      bucket_at,
      length
    from buckets
  ) as chosen
  inner join trades using (source, instrument, timeframe, bucket_at)
  where trades.trade_count >= 100
),

-- The lists are long: they are read for the chosen venues only, and never copied into a work table.
placed as (
  select
    sized.bucket_no,
    sized.largest,
    bars.trade_count,
    bars.largest_quote,
    bars.trade_count > coalesce(jsonb_array_length(bars.largest_quote), 0) as is_cut,
    (bars.largest_quote ->> -1)::numeric as smallest_named
  from sized
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.trade_count,
      revisions.largest_quote,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__trade_bars') }} as revisions
    where
      revisions.source = sized.source
      and revisions.symbol = sized.instrument
      and revisions.event_at >= sized.bucket_at
      and revisions.event_at < sized.ends_at
    order by revisions.event_at, revisions.known_at desc
  ) as bars
  where not bars.is_tombstone
),

left_out as (
  select
    bucket_no,
    max(smallest_named) filter (where is_cut) as at_most,
    bool_or(is_cut and smallest_named is null) as is_unknown
  from placed
  group by 1
),

-- The hundredth of each minute together are at least k trades: the k-th of these is a lower limit of the bucket's k-th, and
-- spares sorting the rest of the lists.
limits as (
  select
    bucket_no,
    value_quote as at_least
  from (
    select
      placed.bucket_no,
      placed.largest,
      (placed.largest_quote ->> (places.place - 1))::numeric as value_quote,
      row_number() over (
        partition by placed.bucket_no order by (placed.largest_quote ->> (places.place - 1))::numeric desc nulls last
      ) as place
    from placed
    cross join lateral generate_series(1, ceil(placed.trade_count / 100.0)::integer) as places (place)
  ) as hundredths
  where place = largest and value_quote is not null
),

ranked as (
  select
    placed.bucket_no,
    placed.largest,
    named.value::numeric as value_quote,
    row_number() over (partition by placed.bucket_no order by named.value::numeric desc) as place
  from placed
  inner join limits on placed.bucket_no = limits.bucket_no
  cross join lateral jsonb_array_elements_text(placed.largest_quote) as named (value)
  where named.value::numeric >= limits.at_least
),

largest as (
  select
    bucket_no,
    sum(value_quote) as value_quote,
    min(value_quote) as smallest
  from ranked
  where place <= largest
  group by 1
),

concentration as (
  select
    sized.source,
    sized.instrument,
    sized.timeframe,
    sized.bucket_at,
    largest.value_quote / nullif(sized.volume_quote, 0) as share
  from sized
  inner join largest on sized.bucket_no = largest.bucket_no
  inner join left_out on sized.bucket_no = left_out.bucket_no
  where not left_out.is_unknown and coalesce(left_out.at_most <= largest.smallest, true)
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
