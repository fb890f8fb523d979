{# An irrational or divided number as the marts store it: numeric, rounded, without trailing zeros. #}
{% macro rounded(expression, digits=12) -%}
  trim_scale(round(({{ expression }})::numeric, {{ digits }}))
{%- endmacro %}

{# Exact median of a numeric: the mean of lower and upper median. percentile_cont would go through double precision. #}
{% macro median(expression) -%}
  (
    percentile_disc(0.5) within group (order by {{ expression }})
    + percentile_disc(0.5) within group (order by {{ expression }} desc)
  ) / 2
{%- endmacro %}

{#
  Simple annual rate of a rate per interval of that many hours. The year is divided first: that is exact for the intervals
  that venues have, and so is the product.
#}
{% macro apr(rate, interval_hours) -%}
  {{ rounded(rate ~ " * (8760 / " ~ interval_hours ~ ")", 24) }}
{%- endmacro %}

{# Total variance at a tenor between two expiries, linear in time, as an annual volatility in percent. Times in years. #}
{% macro volatility_at(tenor, near_years, near_pct, far_years, far_pct) -%}
  100 * sqrt(
    (
      power({{ near_pct }} / 100, 2) * {{ near_years }}
      + (power({{ far_pct }} / 100, 2) * {{ far_years }} - power({{ near_pct }} / 100, 2) * {{ near_years }})
      * case when {{ far_years }} = {{ near_years }} then 0
        else ({{ tenor }} - {{ near_years }}) / ({{ far_years }} - {{ near_years }}) end
    ) / {{ tenor }}
  )
{%- endmacro %}
