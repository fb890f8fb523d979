-- Open interest and long/short ratios per venue and hour: the newest value, if it is less than two hours old at the
-- hour's end. Kinds of ratios stand side by side and are never averaged.
with observed as (
  select
    perpetuals.symbol,
    perpetuals.source,
    perpetuals.instrument,
    perpetuals.starts_at,
    perpetuals.ends_at,
    'open_interest' as what,
    newest.event_at,
    newest.open_interest_base as value,
    newest.open_interest_usd as value_usd
  from {{ ref('int_positioning__perpetuals') }} as perpetuals
  cross join lateral (
    select distinct on (revisions.event_at)
      revisions.event_at,
      revisions.open_interest_base,
      revisions.open_interest_usd,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__open_interest') }} as revisions
    where
      revisions.source = perpetuals.source
      and revisions.symbol = perpetuals.instrument
      and revisions.event_at >= perpetuals.starts_at - interval '2 hours'
      and revisions.event_at < perpetuals.ends_at
    order by revisions.event_at, revisions.known_at desc
  ) as newest
  where not newest.is_tombstone
  union all
  select
    perpetuals.symbol,
    perpetuals.source,
    perpetuals.instrument,
    perpetuals.starts_at,
    perpetuals.ends_at,
    newest.ratio_kind,
    newest.event_at,
    newest.ratio,
    null
  from {{ ref('int_positioning__perpetuals') }} as perpetuals
  cross join lateral (
    select distinct on (revisions.event_at, revisions.ratio_kind)
      revisions.event_at,
      revisions.ratio_kind,
      revisions.ratio,
      revisions.is_tombstone
    from {{ ref('stg_exchanges__long_short_ratios') }} as revisions
    where
      revisions.source = perpetuals.source
      and revisions.symbol = perpetuals.instrument
      and revisions.event_at >= perpetuals.starts_at - interval '2 hours'
      and revisions.event_at < perpetuals.ends_at
    order by revisions.event_at, revisions.ratio_kind, revisions.known_at desc
  ) as newest
  where not newest.is_tombstone
),

followed as (
  select
    *,
    lead(event_at) over (
      partition by symbol, source, instrument, starts_at, what order by event_at
    ) as next_at
  from observed
)

select
  followed.symbol,
  followed.source,
  followed.instrument,
  hours.bucket_at,
  max(followed.value) filter (where followed.what = 'open_interest') as open_interest_base,
  max(followed.value_usd) filter (where followed.what = 'open_interest') as open_interest_usd,
  max(followed.event_at) filter (where followed.what = 'open_interest') as open_interest_observed_at,
  max(followed.value) filter (where followed.what = 'global_accounts') as long_short_global_accounts,
  max(followed.value) filter (where followed.what = 'top_accounts') as long_short_top_accounts,
  max(followed.value) filter (where followed.what = 'top_positions') as long_short_top_positions,
  max(followed.value) filter (where followed.what = 'taker_volume') as long_short_taker_volume
from followed
cross join lateral generate_series(
  greatest({{ hour_of('followed.event_at') }}, followed.starts_at),
  least(
    {{ hour_of('coalesce(followed.next_at, followed.ends_at)') }} - interval '1 hour',
    followed.ends_at - interval '1 hour',
    followed.event_at + interval '1 hour' - interval '1 microsecond'
  ),
  interval '1 hour'
) as hours (bucket_at)
group by 1, 2, 3, 4
