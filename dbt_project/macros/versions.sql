{# Columns of a mart that carry its values: everything declared but the key and what makes a row a version. #}
{% macro value_columns(key) -%}
  {%- set values = [] -%}
  {%- for name in model.columns -%}
    {%- if name not in key and name not in ['is_tombstone', 'known_at', 'run_id', 'row_hash'] -%}
      {%- do values.append(name) -%}
    {%- endif -%}
  {%- endfor -%}
  {{ return(values) }}
{%- endmacro %}

{#
  sha-256 of values as text; times as seconds of the epoch, so that no session setting is in it. Nulls at the end are left
  out: a column that is declared last and has nothing to say about old buckets does not make new versions of them.
#}
{% macro hash_of(columns) -%}
  sha256(convert_to(rtrim(row(
    {%- for name in columns -%}
      {{ 'extract(epoch from ' ~ name ~ ')' if name.endswith('_at') else name }}{{ ', ' if not loop.last }}
    {%- endfor -%}
  )::text, ',)') || ')', 'UTF8'))
{%- endmacro %}

{#
  The body of every mart: rows of `fresh`, the recomputed buckets, whose values differ from the newest version of their
  key, and a tombstone for each key of the touched ranges that is no longer there. `touched` gives the ranges
  (mart, symbol, starts_at, ends_at) that `fresh` covers; `among` narrows the leading key columns to their known values,
  so that the primary key's index answers.
#}
{% macro append_changed(fresh, touched, key, among={}) -%}
  {%- set values = value_columns(key) -%}
  {%- set declared = model.columns.keys() | list -%}
  with fresh as (
    select {{ (key + values) | join(', ') }}, {{ hash_of(values) }} as row_hash
    from {{ fresh }}
  ),

  previous as (
    {%- if is_incremental() and not var('rebuild_schema') %}
    select newest.*
    from {{ touched }} as touched
    {%- for name, choices in among.items() %}
    cross join (values {% for choice in choices %}('{{ choice }}'){{ ', ' if not loop.last }}{% endfor %}) as {{ name }}_choices ({{ name }})
    {%- endfor %}
    cross join lateral (
      select distinct on ({{ key | join(', ') }}) {{ key | join(', ') }}, row_hash, is_tombstone
      from {{ this }} as v
      where
        v.symbol = touched.symbol
        {%- for name in among %}
        and v.{{ name }} = {{ name }}_choices.{{ name }}
        {%- endfor %}
        and v.bucket_at >= touched.starts_at
        and v.bucket_at < touched.ends_at
        and v.known_at <= {{ as_of() }}
      order by {% for name in key %}{{ name }} desc, {% endfor %}known_at desc
    ) as newest
    where touched.mart = '{{ this.identifier }}'
    {%- else %}
    select {{ key | join(', ') }}, row_hash, false as is_tombstone from fresh where false
    {%- endif %}
  ),

  changed as (
    select
      {% for name in key + values %}fresh.{{ name }}, {% endfor %}
      false as is_tombstone,
      fresh.row_hash
    from fresh
    left join previous on {% for name in key %}fresh.{{ name }} = previous.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
    where previous.row_hash is null or previous.row_hash <> fresh.row_hash
    union all
    select
      {% for name in key %}previous.{{ name }}, {% endfor %}
      {% for name in values %}null, {% endfor %}
      true as is_tombstone,
      sha256('withdrawn'::bytea) as row_hash
    from previous
    where
      not previous.is_tombstone
      and not exists (
        select 1 from fresh
        where {% for name in key %}fresh.{{ name }} = previous.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
      )
  ),

  stamped as (
    select *, {{ as_of() }} as known_at, '{{ var("run_id") or "00000000-0000-0000-0000-000000000000" }}'::uuid as run_id from changed
  )

  select
    {%- for name in declared %}
    {{ name }}::{{ model.columns[name].data_type }} as {{ name }}{{ ',' if not loop.last }}
    {%- endfor %}
  from stamped
{%- endmacro %}

{#
  A mart may only be built from work tables of the same run: stale ones would be stamped with a newer watermark. And never as
  of a moment before its last run: that would change what was known in between.
#}
{% macro refuse_stale(touched) -%}
  do $$
  begin
    if (select obj_description('{{ touched }}'::regclass)) is distinct from 'as of {{ var("as_of") }}' then
      raise exception '{{ touched }} is of another run: build the mart together with its intermediate models';
    end if;
    {%- if not var('rebuild_schema') %}
    if exists (select from ops.mart_watermarks where mart = '{{ this.identifier }}' and as_of > {{ as_of() }}) then
      raise exception 'a later run has built {{ this.identifier }} already: nothing is appended as of {{ var("as_of") }}';
    end if;
    {%- endif %}
  end $$
{%- endmacro %}

{# Mark a work table with the run that wrote it. #}
{% macro mark_run() -%} comment on table {{ this }} is 'as of {{ var("as_of") }}' {%- endmacro %}

{#
  What stands around a table of versions: `<mart>_current`, `<mart>_asof(t)`, and the triggers that make it append-only.
  Nothing is replaced, and nobody locked out, unless the columns changed. Then the run's watermark is recorded.
#}
{% macro equip_mart(key) -%}
  {%- if not var('rebuild_schema') -%}
  do $$
  begin
    if (
      select array_agg(attname order by attnum)
      from pg_attribute where attrelid = to_regclass('{{ this.schema }}.{{ this.identifier }}_current') and attnum > 0 and not attisdropped
    ) is distinct from (
      select array_agg(attname order by attnum)
      from pg_attribute where attrelid = '{{ this }}'::regclass and attnum > 0 and not attisdropped
    ) then
      create or replace function {{ this.schema }}.{{ this.identifier }}_asof(t timestamptz)
      returns setof {{ this.schema }}.{{ this.identifier }} language sql stable parallel safe
      begin atomic
        select newest.* from (
          select distinct on ({{ key | join(', ') }}) v.* from {{ this.schema }}.{{ this.identifier }} as v
          where v.known_at <= t
          order by {% for name in key %}v.{{ name }} desc, {% endfor %}v.known_at desc
        ) as newest
        where not newest.is_tombstone;
      end;
      create or replace view {{ this.schema }}.{{ this.identifier }}_current as
        select newest.* from (
          select distinct on ({{ key | join(', ') }}) v.* from {{ this.schema }}.{{ this.identifier }} as v
          order by {% for name in key %}v.{{ name }} desc, {% endfor %}v.known_at desc
        ) as newest
        where not newest.is_tombstone;
      revoke all on function {{ this.schema }}.{{ this.identifier }}_asof(timestamptz) from public;
      grant execute on function {{ this.schema }}.{{ this.identifier }}_asof(timestamptz) to planner, auditor;
      grant select on {{ this.schema }}.{{ this.identifier }}, {{ this.schema }}.{{ this.identifier }}_current to planner, auditor;
      perform ops.make_append_only('{{ this }}'::regclass);
    end if;
  end $$;
  insert into ops.mart_watermarks (mart, as_of, run_id, versions)
  select
    '{{ this.identifier }}',
    {{ as_of() }},
    '{{ var("run_id") }}',
    (select count(*) from {{ this }} where known_at = {{ as_of() }})
  on conflict do nothing
  {%- endif -%}
{%- endmacro %}
