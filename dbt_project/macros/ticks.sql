{#
  Number of the price bin that holds a price: bins are 10 bps wide, each from its own lower edge, 1.001 ^ n. The grid is the
  same at any hour and on any venue. The logarithm is rounded so that an edge is in the bin that it opens.
#}
{% macro price_bin(price) -%} floor(round(ln({{ price }}) / ln(1.001), 9))::bigint {%- endmacro %}

{# Lower edge of a price bin. #}
{% macro price_of_bin(bin) -%} {{ rounded('power(1.001, ' ~ bin ~ ')') }} {%- endmacro %}

{#
  Verdicts on a channel per venue and hour. `watched` minutes showed no sign of trouble: where a venue numbers nothing, no
  minute can be more than that.
#}
{% macro verdict_hours(channel) -%}
  select
    source,
    instrument,
    {{ hour_of('minute_at') }} as bucket_at,
    count(*) filter (where verdict = 'verified') as verified_minutes,
    count(*) filter (where verdict in ('verified', 'clean')) as watched_minutes
  from {{ ref('int_ticks__verdict_minutes') }}
  where channel = '{{ channel }}'
  group by 1, 2, 3
{%- endmacro %}

{# True for a venue that publishes some of its liquidations only: what it says is a lower bound even if it says nothing. #}
{% macro is_sampled_venue(source) -%}
  {{ source }} in ({% for name in var('sampled_liquidations') %}'{{ name }}'{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}
