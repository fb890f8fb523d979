"""Names of channels, `BTC-USD:trades`, and the Redis keys that they stand for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from coinswarm.clients.messages import KINDS
from coinswarm.errors import UserError
from coinswarm.names import safe_name
from coinswarm.registry import INSTRUMENTS
from coinswarm.registry.instruments import InstrumentKind

LISTED = "ticks:streams"
"""Redis' set of every stream that was ever written."""

VENUES = tuple(dict.fromkeys(one.source for one in INSTRUMENTS))
_SHOWN = 60
_DERIVATIVES = ("liquidations", "funding", "open_interest")
_COMPARED = ("arbitrage", "cross_venue")


@dataclass(frozen=True, slots=True)
class Channel:
    """One stream: `kind` is one of `KINDS`, `symbol` an instrument, or an asset for `volatility`."""

    symbol: str
    kind: str

    @property
    def name(self) -> str:
        """What it is called here."""
        return f"{self.symbol}:{self.kind}"

    @property
    def key(self) -> str:
        """What it is called in Redis."""
        return f"{self.kind}:{self.symbol}{':snapshot' if self.kind == 'orderbook' else ''}"


def channel(name: str) -> Channel:
    """The channel of a name, whether or not there is such a symbol.

    Raises:
        UserError: it is not of the form `<symbol>:<kind>`, or there is no such kind.
    """
    symbol, _, kind = str(name).rpartition(":")
    if not symbol or kind not in KINDS:
        raise UserError(f"unknown channel {str(name)[:60]!r}; a channel is SYMBOL:KIND, KIND one of {', '.join(KINDS)}")
    return Channel(safe_name(symbol, what="symbol"), kind)


def channel_of_key(key: str) -> Channel | None:
    """The channel that a key of Redis stands for; None if it is none."""
    kind, _, rest = key.partition(":")
    symbol = rest.removesuffix(":snapshot") if kind == "orderbook" else rest
    return Channel(symbol, kind) if kind in KINDS and symbol else None


def listed(kind: str) -> tuple[str, ...]:
    """Symbols that have such a channel by the registry; there may be more, as options are not listed one by one."""
    if kind == "volatility":
        return tuple(sorted({one.base for one in INSTRUMENTS}))
    found: dict[str, set[str]] = {}
    for one in INSTRUMENTS:
        if kind not in _DERIVATIVES or one.kind is not InstrumentKind.SPOT:
            found.setdefault(one.symbol, set()).add(one.source)
    return tuple(sorted(symbol for symbol, venues in found.items() if kind not in _COMPARED or len(venues) > 1))


def check_known(channels: Iterable[Channel], streams: Collection[str]) -> None:
    """Refuse a channel that neither the registry nor Redis knows.

    Raises:
        UserError: naming the symbols that do have such a channel.
    """
    for one in channels:
        if one.symbol in listed(one.kind) or one.key in streams:
            continue
        written = {found.symbol for found in map(channel_of_key, streams) if found and found.kind == one.kind}
        known = sorted(written | set(listed(one.kind)))
        more = f", … ({len(known)})" if len(known) > _SHOWN else ""
        raise UserError(f"there is no channel {one.name!r}; {one.kind} has {', '.join(known[:_SHOWN])}{more}")


def check_venues(venues: Sequence[str] | str) -> frozenset[str]:
    """The venues that are wanted.

    Raises:
        UserError: one of them is no venue, or none is given.
    """
    wanted = (venues,) if isinstance(venues, str) else tuple(venues)
    unknown = [one for one in wanted if one not in VENUES]
    if unknown or not wanted:
        problem = f"unknown venue {str(unknown[0])[:40]!r}" if unknown else "no venue given"
        raise UserError(f"{problem}; there are {', '.join(VENUES)}")
    return frozenset(wanted)
