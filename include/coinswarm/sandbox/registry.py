"""Every provider that the sandbox stands in for: an explicit list, one module each."""

from __future__ import annotations

from coinswarm.sandbox.exchanges import binance, binance_trades, bybit, coinbase, deribit, kraken, okx
from coinswarm.sandbox.macro import coingecko, fred
from coinswarm.sandbox.news import gdelt
from coinswarm.sandbox.onchain import defillama
from coinswarm.sandbox.protocol import Route

ROUTES: tuple[Route, ...] = (
    # exchanges
    *binance.ROUTES,
    *binance_trades.ROUTES,
    *bybit.ROUTES,
    *coinbase.ROUTES,
    *deribit.ROUTES,
    *kraken.ROUTES,
    *okx.ROUTES,
    # macro
    *coingecko.ROUTES,
    *fred.ROUTES,
    # news
    *gdelt.ROUTES,
    # onchain
    *defillama.ROUTES,
)
