{# The run's watermark: nothing that became known later is read. Unit tests and `dbt test` read everything. #}
{% macro as_of() -%}
  {%- if var('as_of') -%} timestamptz '{{ var("as_of") }}'
  {%- elif execute and flags.WHICH in ('run', 'build') and model.resource_type == 'model' -%}
    {{ exceptions.raise_compiler_error("marts are built by `coinswarm.orchestration.marts.build_marts`: it takes the watermark `as_of`") }}
  {%- else -%} timestamptz 'infinity'
  {%- endif -%}
{%- endmacro %}

{# Start of the slot of that length, aligned to the epoch in UTC, that contains a moment. #}
{% macro slot_of(length, moment) -%}
  date_bin(interval '{{ length }}', {{ moment }}, timestamptz '1970-01-01 00:00:00+00')
{%- endmacro %}

{% macro day_of(moment) -%} {{ slot_of('1 day', moment) }} {%- endmacro %}

{% macro hour_of(moment) -%} {{ slot_of('1 hour', moment) }} {%- endmacro %}

{# Length of the timeframes that marts read or write, as an interval. #}
{% macro length_of(timeframe) -%}
  case {{ timeframe }} when '1h' then interval '1 hour' when '4h' then interval '4 hours'
  when '8h' then interval '8 hours' when '1d' then interval '1 day' end
{%- endmacro %}
