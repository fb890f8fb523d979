"""What a venue module provides: one object a connection, pure and without a socket or a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from coinswarm.ticks.book import MAX_LEVELS
from coinswarm.ticks.model import BookUpdate, Channel, Event


class Proof(StrEnum):
    """How far a stream can prove that nothing is missing."""

    SEQUENCE = "sequence"  # every message or trade is numbered: what is missing is known
    CHECKSUM = "checksum"  # the state is checked against the venue's
    NONE = "none"  # only its liveness can be watched


@dataclass(frozen=True, slots=True)
class Stream:
    """One subscription: a channel of an instrument (or asset).

    `quiet_seconds` is how long the stream may say nothing before it is asked whether it is alive.
    """

    channel: Channel
    symbol: str
    proof: Proof
    quiet_seconds: float


@dataclass(frozen=True, slots=True)
class Ping:
    """A frame that the client has to send every `seconds`."""

    frame: bytes
    seconds: float


class Step(StrEnum):
    """What to do with a book update."""

    APPLY = "apply"
    DROP = "drop"  # older than the book, or an empty keep-alive
    RESYNC = "resync"  # the chain is broken: the book is invalid until the next snapshot


class BookRule(Protocol):
    """The venue's chain of sequence numbers of one book; keeps the last number."""

    def check(self, update: BookUpdate) -> Step:
        """Judge an update by those before it; a snapshot starts a new chain."""
        ...


class Venue(Protocol):
    """One connection to one venue.

    `slug` is the source's slug, `name` tells connections of one venue apart (`binance_usdm_market`). `url` is the
    provider's own address; a connection `http_<slug>` with a host turns `wss://a.b/c` into `ws://<host>/a.b/c`.
    `lifetime_seconds` is when the venue cuts the connection at the latest, 0 for never.
    """

    slug: str
    name: str
    url: str
    streams: tuple[Stream, ...]
    ping: Ping | None
    lifetime_seconds: float
    book_depth: int = MAX_LEVELS
    """Levels a side that the venue keeps: it does not tell when others fall out, so the book has to drop them."""

    def subscribe(self) -> tuple[bytes, ...]:
        """Frames to send after connecting, in order."""
        ...

    def resubscribe(self, stream: Stream) -> tuple[bytes, ...]:
        """Frames that bring a fresh snapshot of a book; empty if the book comes over REST (`snapshot_url`)."""
        ...

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame, in order. No state: the same frame gives the same events.

        Raises:
            MalformedFrame: not what the venue documents.
        """
        ...

    def book_rule(self, symbol: str) -> BookRule:
        """A new chain for the book of an instrument."""
        ...

    def checksum(self, symbol: str, bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int | None:
        """The venue's checksum of a book's best levels, best first; None if the venue has none."""
        ...

    def base_size(self, symbol: str, native: str, price: str) -> str:
        """A size of the book in base units.

        Raises:
            MalformedFrame: it takes a price, and that is zero.
        """
        ...

    def snapshot_url(self, symbol: str) -> str:
        """Address of a REST book snapshot (https), empty if snapshots come over the socket."""
        ...

    def decode_snapshot(self, symbol: str, body: bytes) -> BookUpdate:
        """The snapshot in a REST body.

        Raises:
            MalformedFrame: not what the venue documents.
        """
        ...
