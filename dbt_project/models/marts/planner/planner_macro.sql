{{ config(
  pre_hook="{{ refuse_stale(ref('int_context__touched_ranges')) }}",
  post_hook="{{ equip_mart(['symbol', 'bucket_at']) }}",
  indexes=[{'columns': ['known_at']}],
) }}
{{ append_changed(
  ref('int_context__macro'),
  ref('int_context__touched_ranges'),
  key=['symbol', 'bucket_at']
) }}
