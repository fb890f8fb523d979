-- The recomputed rows of planner_sentiment: articles per asset, and of all assets together, and hour in which the
-- monitor saw them.
with newest as (
  select distinct on (revisions.source, revisions.article_id)
    revisions.event_at,
    revisions.domain,
    revisions.assets,
    revisions.tone,
    revisions.positive_pct,
    revisions.negative_pct,
    revisions.word_count,
    revisions.is_tombstone,
    touched.starts_at,
    touched.ends_at
  from {{ ref('int_context__touched_ranges') }} as touched
  inner join {{ ref('stg_news__articles') }} as found
    on touched.starts_at <= found.event_at and touched.ends_at > found.event_at and found.symbol = 'global'
  -- The newest revision of what was found may be of another day.
  inner join {{ ref('stg_news__articles') }} as revisions
    on found.source = revisions.source and found.symbol = revisions.symbol and found.article_id = revisions.article_id
  where touched.mart = 'planner_sentiment'
  order by revisions.source, revisions.article_id, revisions.known_at desc
),

articles as (
  select
    newest.*,
    {{ hour_of('newest.event_at') }} as bucket_at
  from newest
  inner join {{ ref('int_context__touched_ranges') }} as ranges
    on ranges.mart = 'planner_sentiment' and newest.event_at >= ranges.starts_at and newest.event_at < ranges.ends_at
  where not newest.is_tombstone
),

mentions as (
  select
    'global' as symbol,
    articles.*
  from articles
  union all
  select
    ranges.symbol,
    articles.*
  from articles
  inner join (
    select distinct symbol
    from {{ ref('int_context__sentiment_ranges') }}
    where symbol <> 'global'
  ) as ranges on articles.assets ? ranges.symbol
)

select
  symbol,
  bucket_at,
  count(*) as article_count,
  count(distinct domain) as publisher_count,
  {{ rounded('avg(tone)', 6) }} as tone_mean,
  -- Long articles weigh more; one without a length or tone has no weight.
  {{ rounded('sum(tone * word_count) / nullif(sum(word_count) filter (where tone is not null), 0)', 6) }} as tone_mean_weighted,
  {{ rounded('avg(positive_pct)', 6) }} as positive_pct_mean,
  {{ rounded('avg(negative_pct)', 6) }} as negative_pct_mean
from mentions
where bucket_at + interval '1 hour' <= {{ as_of() }}
group by symbol, bucket_at
