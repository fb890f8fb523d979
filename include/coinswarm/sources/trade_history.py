"""Who gives past trades again, and how: by venue and market."""

from __future__ import annotations

from collections.abc import Mapping

from coinswarm.registry import Instrument
from coinswarm.sources.exchanges import binance, bybit, coinbase, deribit, kraken, okx
from coinswarm.sources.exchanges._trades import Page, Span, TradeHistory

HISTORIES: Mapping[str, Mapping[str, TradeHistory]] = {
    module.SLUG: module.TRADE_HISTORY for module in (binance, bybit, coinbase, deribit, kraken, okx)
}


def trade_history_of(instrument: Instrument) -> TradeHistory | None:
    """How the venue of an instrument gives its past trades; None if it does not."""
    return HISTORIES.get(instrument.source, {}).get(instrument.market)


__all__ = ["HISTORIES", "Page", "Span", "TradeHistory", "trade_history_of"]
