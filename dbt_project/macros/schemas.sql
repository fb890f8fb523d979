{# Schemas are named outright; a rebuild puts everything into its own. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
  {{ var('rebuild_schema') or custom_schema_name or target.schema }}
{%- endmacro %}
