{{ config(materialized='view') }}
-- What get_features can return: definitions of one venue's features are repeated for each venue that feeds positioning.
select
  definitions.feature || coalesce('_' || venues.source, '') as feature,
  definitions.feature_group,
  definitions.scope,
  definitions.mart,
  definitions.column_name,
  venues.source as venue,
  definitions.granularity,
  definitions.rollup,
  definitions.unit,
  definitions.description
from {{ ref('feature_definitions') }} as definitions
left join (
  select distinct source from {{ ref('stg_registry__planner_symbols') }}
  where role = 'positioning'
) as venues on definitions.per_venue
