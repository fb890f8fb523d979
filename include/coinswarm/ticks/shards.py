"""Shards: which connections one pump holds. One shard, one lease, one task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module

from coinswarm.errors import UserError
from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.protocol import Venue

CROSS_VENUE = "cross_venue"
"""The shard that reads what the others wrote."""

Builder = Callable[[], tuple[Venue, ...]]


def _of(module: str, source: str, *markets: str, name: str) -> Builder:
    def build() -> tuple[Venue, ...]:
        instruments = [one for one in INSTRUMENTS if one.source == source and (not markets or one.market in markets)]
        venues: tuple[Venue, ...] = import_module(f"coinswarm.ticks.venues.{module}").connections(name, instruments)
        return venues

    return build


SHARDS: Mapping[str, Builder] = {
    "binance_spot": _of("binance", "binance", "spot", name="spot"),
    "binance_usdm": _of("binance", "binance", "usdm", name="usdm"),
    "coinbase": _of("coinbase", "coinbase", "spot", name="spot"),
    "kraken_spot": _of("kraken", "kraken", "spot", name="spot"),
    "kraken_futures": _of("kraken_futures", "kraken", "futures", name="futures"),
    "okx": _of("okx", "okx", "spot", "swap", name="okx"),
    "bybit_spot": _of("bybit", "bybit", "spot", name="spot"),
    "bybit_linear": _of("bybit", "bybit", "linear", name="linear"),
    "deribit": _of("deribit", "deribit", name="deribit"),
}
"""Builders by name; venues are imported when one is built."""


def shard_names() -> tuple[str, ...]:
    """All shards, the one across venues last."""
    return (*SHARDS, CROSS_VENUE)


def connections_of(shard: str) -> tuple[Venue, ...]:
    """The connections of a shard; none for the one across venues.

    Raises:
        UserError: there is no such shard.
    """
    check_shard(shard)
    return () if shard == CROSS_VENUE else SHARDS[shard]()


def check_shard(shard: str) -> None:
    """Refuse a name that is no shard.

    Raises:
        UserError: naming those that there are.
    """
    if shard not in shard_names():
        raise UserError(f"there is no shard {shard[:40]!r}; there are {', '.join(shard_names())}")
