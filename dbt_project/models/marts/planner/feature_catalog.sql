{{ config(pre_hook="{% if is_incremental() %}delete from {{ this }}{% endif %}") }}
-- What get_features can return: definitions of one venue's features are repeated for each venue that feeds positioning.
-- A table filled anew in one transaction: readers always find it. A view would go with the staging view that it reads, for as
-- long as a build takes to make both again.
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
