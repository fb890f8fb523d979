"""Every host that the sandbox streams for: an explicit list, one module a provider."""

from __future__ import annotations

from collections.abc import Callable

from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams import binance, bybit, coinbase, deribit, kraken, kraken_futures, okx
from coinswarm.sandbox.streams.session import Session

Opener = Callable[[World, Call], Session | None]
"""A session for a path, None if the host does not serve it."""

HOSTS: dict[str, Opener] = {
    **binance.HOSTS,
    **bybit.HOSTS,
    **coinbase.HOSTS,
    **deribit.HOSTS,
    **kraken.HOSTS,
    **kraken_futures.HOSTS,
    **okx.HOSTS,
}


def find(host: str) -> Opener | None:
    """Who speaks for a host, whatever its port."""
    return HOSTS.get(host.partition(":")[0])
