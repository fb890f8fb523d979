{{ config(
  pre_hook="{{ refuse_stale(ref('int_market__touched_ranges')) }}",
  post_hook="{{ equip_mart(['symbol', 'bucket_at']) }}",
  indexes=[{'columns': ['known_at']}],
) }}
{{ append_changed(
  ref('int_positioning__positioning'),
  ref('int_market__touched_ranges'),
  key=['symbol', 'bucket_at']
) }}
