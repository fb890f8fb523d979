{{ config(
  pre_hook="{{ refuse_stale(ref('int_context__sentiment_ranges')) }}",
  post_hook="{{ equip_mart(['symbol', 'bucket_at']) }}",
  indexes=[{'columns': ['known_at']}],
) }}
{{ append_changed(
  ref('int_context__sentiment'),
  ref('int_context__sentiment_ranges'),
  key=['symbol', 'bucket_at']
) }}
