-- Newest versions of the marts' rows in the touched ranges, as JSON (which keeps numerics exact), per feature symbol.
{% set marts = [
  ('market_aggregates', '', ['1h', '4h', '1d'], false, false),
  ('positioning_by_venue', '1h', [], true, false),
  ('planner_positioning', '1h', [], false, false),
  ('volatility_surface', '1h', [], false, false),
  ('planner_sentiment', '1h', [], false, true),
  ('planner_onchain', '1d', [], false, false),
  ('planner_macro', '1d', [], false, false),
] -%}
with ranges as (
  select
    symbol,
    symbol as mart_symbol,
    starts_at,
    ends_at
  from {{ ref('int_features__touched_ranges') }}
),

asset_ranges as (
  select
    symbol,
    split_part(symbol, '-', 1) as mart_symbol,
    starts_at,
    ends_at
  from {{ ref('int_features__touched_ranges') }}
)

{% for mart, granularity, timeframes, by_venue, by_asset in marts -%}
select
  '{{ mart }}' as mart,
  ranges.symbol,
  {{ 'newest.source' if by_venue else 'null' }}::text as venue,
  {{ 'newest.timeframe' if timeframes else "'" ~ granularity ~ "'" }} as granularity,
  newest.bucket_at,
  to_jsonb(newest) as fields
from {{ 'asset_ranges' if by_asset else 'ranges' }} as ranges
{%- if timeframes %}
cross join (
  values
  {% for timeframe in timeframes %}
  ('{{ timeframe }}'){{ ',' if not loop.last }}
  {% endfor %}
) as lengths (timeframe)
{%- endif %}
cross join lateral (
  select distinct on (versions.bucket_at{{ ', versions.source, versions.instrument' if by_venue }})
    versions.*
  from {{ ref(mart) }} as versions
  where
    versions.symbol = ranges.mart_symbol
    {%- if timeframes %}
    and versions.timeframe = lengths.timeframe
    {%- endif %}
    and versions.bucket_at >= ranges.starts_at
    and versions.bucket_at < ranges.ends_at
    and versions.known_at <= {{ as_of() }}
  order by versions.bucket_at desc,{{ ' versions.source desc, versions.instrument desc,' if by_venue }} versions.known_at desc
) as newest
where not newest.is_tombstone
{{ 'union all' if not loop.last }}
{% endfor %}
