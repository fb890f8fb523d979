"""Every provider that the sandbox stands in for: an explicit list, one module each."""

from __future__ import annotations

from coinswarm.sandbox.macro import coingecko, fred
from coinswarm.sandbox.news import gdelt
from coinswarm.sandbox.onchain import defillama
from coinswarm.sandbox.protocol import Route

ROUTES: tuple[Route, ...] = (
    # exchanges
    # macro
    *coingecko.ROUTES,
    *fred.ROUTES,
    # news
    *gdelt.ROUTES,
    # onchain
    *defillama.ROUTES,
)
