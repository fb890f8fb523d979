{{ config(materialized='view') }}
-- What get_features can return: definitions of one venue's features are repeated for each venue that feeds positioning.
-- It reads the table of planner symbols itself: a view of the staging view goes with that one while a build makes it anew, and
-- readers would not find it meanwhile.
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
  select distinct source from {{ source('registry', 'planner_symbols') }}
  where role = 'positioning'
) as venues on definitions.per_venue
