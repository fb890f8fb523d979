{{ config(
  pre_hook="{{ refuse_stale(ref('int_features__touched_ranges')) }}",
  post_hook="{{ equip_mart(['symbol', 'granularity', 'bucket_at', 'feature']) }}",
  indexes=[{'columns': ['known_at']}],
) }}
{{ append_changed(
  ref('int_features__features'),
  ref('int_features__touched_ranges'),
  key=['symbol', 'granularity', 'bucket_at', 'feature'],
  among={'granularity': ['1h', '4h', '1d']}
) }}
