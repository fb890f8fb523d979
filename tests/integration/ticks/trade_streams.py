"""The streams of trades of all shards, as the venues' other side knows them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.ticks.model import Channel
from coinswarm.ticks.protocol import Proof
from coinswarm.ticks.shards import SHARDS, connections_of


@dataclass(frozen=True)
class TradeStream:
    """One instrument's trades: where they come from, and whether their numbers show what is missing."""

    instrument: Instrument
    host: str
    path: str
    numbered: bool

    @property
    def place(self) -> dict[str, str]:
        """Host and symbol, as rules of stream faults name them."""
        return {"host": f"{self.host}*", "path": self.path, "symbol": self.instrument.venue_symbol}

    @property
    def query(self) -> dict[str, str]:
        """Host, market and symbol, as the question for what was traded names them."""
        return {"host": self.host, "market": self.instrument.market, "symbol": self.instrument.venue_symbol}

    @property
    def latest_key(self) -> str:
        """Where its newest trade is in Redis."""
        return f"latest:trades:{self.instrument.source}:{self.instrument.symbol}"


def trade_streams() -> list[TradeStream]:
    """All of them."""
    found = []
    for shard in SHARDS:
        for venue in connections_of(shard):
            parts = urlsplit(venue.url)
            found += [
                TradeStream(
                    INSTRUMENTS.get(venue.slug, stream.symbol),
                    parts.hostname or "",
                    parts.path or "/",
                    stream.proof is Proof.SEQUENCE,
                )
                for stream in venue.streams
                if stream.channel is Channel.TRADES
            ]
    return found
