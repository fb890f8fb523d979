-- A version is appended only where values changed: of the last run's versions none equals the one before it.
{% for mart, key in {
  'market_aggregates': ['symbol', 'timeframe', 'bucket_at'],
  'planner_positioning': ['symbol', 'bucket_at'],
  'liquidation_heatmap': ['symbol', 'bucket_at', 'side', 'price_bin'],
  'volatility_surface': ['symbol', 'bucket_at'],
}.items() -%}
select '{{ mart }}' as mart, new.symbol, new.bucket_at, new.known_at
from {{ ref(mart) }} as new
cross join lateral (
  select earlier.row_hash
  from {{ ref(mart) }} as earlier
  where
    earlier.known_at < new.known_at
    {% for name in key -%}
    and earlier.{{ name }} = new.{{ name }}
    {% endfor %}
  order by earlier.known_at desc
  limit 1
) as previous
where new.known_at = (select max(newest.known_at) from {{ ref(mart) }} as newest) and previous.row_hash = new.row_hash
{{ 'union all' if not loop.last }}
{% endfor %}
