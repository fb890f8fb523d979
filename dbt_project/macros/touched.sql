{# Up to when a mart has read raw. A rebuild starts from nothing. #}
{% macro watermark(mart) -%}
  {%- if var('rebuild_schema') -%} timestamptz '-infinity'
  {%- else -%}
    (select coalesce(max(w.as_of), '-infinity') from {{ ref('stg_ops__mart_watermarks') }} as w where w.mart = '{{ mart }}')
  {%- endif -%}
{%- endmacro %}

{# Days of a mart whose buckets end between two runs: values that are carried forward appear without a new raw row. #}
{% macro days_since_last_run(mart) -%}
  select
    {{ day_of(watermark(mart) ~ " - interval '1 hour'") }} as first_day,
    {{ day_of(as_of()) }} as last_day
  where {{ watermark(mart) }} > timestamptz '-infinity' and {{ as_of() }} < timestamptz 'infinity'
{%- endmacro %}

{#
  Overlapping or adjacent spans of days become disjoint half-open ranges.
  `spans` names a CTE with mart, symbol, first_day, last_day (both inclusive); `everything` one with every mart and symbol of
  the group, which a rebuild takes for its whole window, whatever arrived when.
#}
{% macro ranges_of(spans, everything) -%}
  {%- if var('rebuild_schema') %}
  select
    mart,
    symbol,
    timestamptz '{{ var("rebuild_from") }}' as starts_at,
    timestamptz '{{ var("rebuild_to") }}' as ends_at
  from {{ everything }}
  {%- else %}
  select
    mart,
    symbol,
    min(first_day) as starts_at,
    max(last_day) + interval '1 day' as ends_at
  from (
    select
      mart,
      symbol,
      first_day,
      last_day,
      count(*) filter (where is_first) over (
        partition by mart, symbol order by first_day, last_day rows unbounded preceding
      ) as island
    from (
      select
        mart,
        symbol,
        first_day,
        last_day,
        first_day > coalesce(
          max(last_day) over (
            partition by mart, symbol order by first_day, last_day rows between unbounded preceding and 1 preceding
          ) + interval '1 day',
          '-infinity'
        ) as is_first
      from {{ spans }}
      where first_day <= last_day
    ) as marked
  ) as numbered
  group by mart, symbol, island
  {%- endif %}
{%- endmacro %}
