"""Every provider that the sandbox stands in for: an explicit list, one module each."""

from __future__ import annotations

from coinswarm.sandbox.exchanges import (
    binance,
    binance_trades,
    bybit,
    bybit_trades,
    coinbase,
    coinbase_trades,
    deribit,
    deribit_trades,
    kraken,
    kraken_trades,
    okx,
    okx_trades,
)
from coinswarm.sandbox.macro import coingecko, fred
from coinswarm.sandbox.news import gdelt
from coinswarm.sandbox.onchain import defillama
from coinswarm.sandbox.protocol import Route

ROUTES: tuple[Route, ...] = (
    # exchanges
    *binance.ROUTES,
    *binance_trades.ROUTES,
    *bybit.ROUTES,
    *bybit_trades.ROUTES,
    *coinbase.ROUTES,
    *coinbase_trades.ROUTES,
    *deribit.ROUTES,
    *deribit_trades.ROUTES,
    *kraken.ROUTES,
    *kraken_trades.ROUTES,
    *okx.ROUTES,
    *okx_trades.ROUTES,
    # macro
    *coingecko.ROUTES,
    *fred.ROUTES,
    # news
    *gdelt.ROUTES,
    # onchain
    *defillama.ROUTES,
)
