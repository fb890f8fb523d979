select
  source,
  venue_symbol,
  symbol,
  market,
  kind,
  base,
  quote,
  settle,
  contract_size,
  contract_unit,
  tick_size,
  valid_from,
  valid_to
from {{ source('registry', 'instruments') }}
