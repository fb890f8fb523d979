{{ config(
  pre_hook="{{ refuse_stale(ref('int_market__touched_ranges')) }}",
  post_hook="{{ equip_mart(['symbol', 'timeframe', 'bucket_at']) }}",
  indexes=[{'columns': ['known_at']}],
) }}
{{ append_changed(
  ref('int_market__market_aggregates'),
  ref('int_market__touched_ranges'),
  key=['symbol', 'timeframe', 'bucket_at'],
  among={'timeframe': ['1h', '4h', '1d']}
) }}
