-- Where the trades of a span were proved complete, the bar made of them is the venue's own bar, to the last digit.
select
  source,
  instrument,
  timeframe,
  event_at,
  close_deviation_bps,
  volume_deviation_bps,
  taker_delta_difference_base
from {{ ref('int_ticks__bar_checks') }}
where is_verified and not is_equal
