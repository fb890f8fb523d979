"""What a venue's frames mean: typed events, numbers as exact text in the venue's own digits.

`symbol` is the canonical instrument, `ts` the venue's time in milliseconds since the epoch (0: the frame has none).
Whole numbers that a venue does not give are -1.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct


class Channel(StrEnum):
    """What can be subscribed to; the value is the first part of the Redis key."""

    TRADES = "trades"
    BOOK = "orderbook"
    LIQUIDATIONS = "liquidations"
    FUNDING = "funding"
    OPEN_INTEREST = "open_interest"
    VOLATILITY = "volatility"


Level = tuple[str, str]
"""Price and size of a book level, exact text; size `0` (or `0.000`) removes the level."""


class Trade(Struct, frozen=True, gc=False):
    """One execution, or one taker order at one price where `first` and `last` differ.

    `size` is in base units. `native` is the size as the venue counts it, empty if that is base units. `side` is what
    the taker did, `buy` or `sell`. `first` and `last` are the consecutive numbers that it covers, for proof of gaps.
    `liquidation` is whether a forced order took part; None where the venue's trades do not say.
    """

    symbol: str
    price: str
    size: str
    side: str
    ts: int
    id: str
    first: int = -1
    last: int = -1
    native: str = ""
    liquidation: bool | None = None


class BookUpdate(Struct, frozen=True):
    """A snapshot, or changed levels. `first`, `last`, `previous` are the venue's sequence numbers, `checksum` its CRC.

    Sizes are in the venue's own units, as its checksum wants them.
    """

    symbol: str
    snapshot: bool
    bids: list[Level]
    asks: list[Level]
    ts: int
    first: int = -1
    last: int = -1
    previous: int = -1
    checksum: int = -1


class TopOfBook(Struct, frozen=True, gc=False):
    """Best bid and ask, sizes in the venue's own units."""

    symbol: str
    bid: str
    bid_size: str
    ask: str
    ask_size: str
    ts: int
    last: int = -1


class Liquidation(Struct, frozen=True, gc=False):
    """A forced order. `side` is the position that was liquidated, `long` or `short`; `size` is in base units.

    `price_kind` says what the price is: `average` of the fills, `bankruptcy` or `order`. `sampled` is true where the
    venue does not publish all of them.
    """

    symbol: str
    side: str
    price: str
    size: str
    ts: int
    price_kind: str
    sampled: bool
    native: str = ""


class Funding(Struct, frozen=True, gc=False):
    """State of a perpetual; empty text is not in this frame. `rate` is per `interval_hours` (-1: not said)."""

    symbol: str
    ts: int
    rate: str = ""
    next_ts: int = -1
    interval_hours: int = -1
    mark: str = ""
    index: str = ""


class OpenInterest(Struct, frozen=True, gc=False):
    """Open contracts, counted on one side: base units, and the venue's own unit where that is another."""

    symbol: str
    ts: int
    base: str
    native: str = ""


class OptionTick(Struct, frozen=True, gc=False):
    """Implied volatilities of one option, in percent per year; `symbol` is the option, `asset` its underlying."""

    symbol: str
    asset: str
    ts: int
    mark_iv: str
    bid_iv: str = ""
    ask_iv: str = ""
    delta: str = ""
    mark: str = ""
    underlying: str = ""
    open_interest: str = ""


class VolatilityIndex(Struct, frozen=True, gc=False):
    """A venue's own volatility index, in percent per year."""

    asset: str
    ts: int
    value: str


class Heartbeat(Struct, frozen=True, gc=False):
    """Sign of life of the connection. `counter` is consecutive where the venue numbers them."""

    counter: int = -1


class Sequence(Struct, frozen=True, gc=False):
    """Number of a frame that a venue counts per connection (Coinbase), beside the frame's other events."""

    number: int


class Reply(Struct, frozen=True, gc=False):
    """What the venue wants to hear at once, for instance the answer to a test request."""

    frame: bytes


class Ack(Struct, frozen=True, gc=False):
    """Answer to a subscription. An accepted one is no sign of life."""

    accepted: bool
    detail: str = ""


class Goodbye(Struct, frozen=True, gc=False):
    """The venue is about to close this connection: connect anew at once."""

    reason: str


class Unknown(Struct, frozen=True, gc=False):
    """A message of a kind that is not ours; counted by kind."""

    kind: str


Event = (
    Trade
    | BookUpdate
    | TopOfBook
    | Liquidation
    | Funding
    | OpenInterest
    | OptionTick
    | VolatilityIndex
    | Heartbeat
    | Sequence
    | Reply
    | Ack
    | Goodbye
    | Unknown
)


class MalformedFrame(ValueError):
    """A frame that does not say what the venue documents: it is counted, kept for inspection and skipped."""
