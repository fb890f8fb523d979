{{ config(
  pre_hook="{{ refuse_stale(ref('int_market__touched_ranges')) }}",
  post_hook="{{ equip_mart(['symbol', 'bucket_at', 'side', 'price_bin']) }}",
  indexes=[{'columns': ['known_at']}],
) }}
{{ append_changed(
  ref('int_ticks__heatmap'),
  ref('int_market__touched_ranges'),
  key=['symbol', 'bucket_at', 'side', 'price_bin']
) }}
