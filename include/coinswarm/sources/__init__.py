"""Where the data comes from: one module a provider, listed here by hand."""

from __future__ import annotations

from coinswarm.errors import UserError
from coinswarm.sources.exchanges import binance, bybit, coinbase, deribit, kraken, okx
from coinswarm.sources.macro import coingecko, fred
from coinswarm.sources.news import gdelt
from coinswarm.sources.onchain import defillama
from coinswarm.sources.spec import SourceSpec

SOURCES: dict[str, SourceSpec] = {
    spec.slug: spec
    for spec in (
        # exchanges
        binance.SPEC,
        bybit.SPEC,
        coinbase.SPEC,
        deribit.SPEC,
        kraken.SPEC,
        okx.SPEC,
        # macro
        coingecko.SPEC,
        fred.SPEC,
        # news
        gdelt.SPEC,
        # onchain
        defillama.SPEC,
    )
}


def source_named(slug: str) -> SourceSpec:
    """The source called `slug`.

    Raises:
        UserError: there is none; the message lists those that exist.
    """
    try:
        return SOURCES[slug]
    except KeyError:
        raise UserError(f"unknown source {slug[:40]!r}; known: {', '.join(SOURCES)}") from None


__all__ = ["SOURCES", "source_named"]
