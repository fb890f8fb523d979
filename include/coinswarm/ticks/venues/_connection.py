"""What connections have in common, whatever the venue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import MsgspecError, Raw

from coinswarm.ticks.book import MAX_LEVELS
from coinswarm.ticks.markets import Markets
from coinswarm.ticks.model import BookUpdate, Channel, Level, MalformedFrame, Unknown
from coinswarm.ticks.protocol import Ping, Step, Stream

UNREADABLE = (MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder may raise; the last two by bytes that are no text, and by brackets without end."""

# A liquidation, or the silence of one: nothing can be concluded from hours without.
RARE_SECONDS = 6 * 3600.0

T = TypeVar("T")


class Connection:
    """A connection whose books come over the socket and have no checksum, unless it says otherwise."""

    slug: str
    name: str
    url: str
    streams: tuple[Stream, ...] = ()
    ping: Ping | None = None
    lifetime_seconds: float = 0.0
    book_depth: int = MAX_LEVELS

    def __init__(self, markets: Markets) -> None:
        self._markets = markets
        self._venue_symbols = {market.symbol: venue_symbol for venue_symbol, market in markets.items()}

    def resubscribe(self, stream: Stream) -> tuple[bytes, ...]:
        """Leave a book and ask for it again: the answer begins with a snapshot. Empty for all else."""
        name = self._venue_symbols.get(stream.symbol)
        return self._ask_again(name) if name and stream.channel == Channel.BOOK else ()

    def _ask_again(self, venue_symbol: str) -> tuple[bytes, ...]:
        return ()

    def checksum(self, symbol: str, bids: Sequence[Level], asks: Sequence[Level]) -> int | None:
        """None: there is none."""
        return None

    def base_size(self, symbol: str, native: str, price: str) -> str:
        """A size of the book in base units, as sizes of trades are."""
        market = self._markets.get(self._venue_symbols.get(symbol, ""))
        return native if market is None else market.base(native, price)

    def snapshot_url(self, symbol: str) -> str:
        """Empty: books come over the socket."""
        return ""

    def decode_snapshot(self, symbol: str, body: bytes) -> BookUpdate:
        """There are no REST snapshots here.

        Raises:
            MalformedFrame: always.
        """
        raise MalformedFrame(f"{self.name} has no REST snapshots")


class SnapshotFirst:
    """A book without sequence numbers: updates count from the first snapshot on."""

    __slots__ = ("_begun",)

    def __init__(self) -> None:
        self._begun = False

    def check(self, update: BookUpdate) -> Step:
        """Drop what comes before the snapshot."""
        self._begun = self._begun or update.snapshot
        return Step.APPLY if self._begun else Step.DROP


class Chain:
    """A book whose updates name the number of the one before (`previous`).

    After a break, what comes before the next snapshot is dropped: it belongs to the chain that is broken.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def check(self, update: BookUpdate) -> Step:
        """Apply what follows the last number, drop what is older, and break on everything else."""
        last = self._last
        if update.snapshot:
            self._last = update.last
            return Step.APPLY
        if last is None:
            return Step.DROP
        if update.previous == last:
            self._last = update.last
            return Step.APPLY
        if update.last <= last:
            return Step.DROP
        self._last = None
        return Step.RESYNC


def malformed(name: str, error: Exception) -> MalformedFrame:
    """What is wrong with a frame, said once and short."""
    reason = "brackets without end" if isinstance(error, RecursionError) else str(error)
    return MalformedFrame(f"{name}: {reason[:200]}")


def unlisted(venue_symbol: str) -> Unknown:
    """An instrument that nobody listed: named, never guessed."""
    return Unknown(f"symbol {venue_symbol[:40]}")


def reading(name: str, decode: Callable[[bytes | Raw], T], content: bytes | Raw) -> T:
    """Content of a frame, typed.

    Raises:
        MalformedFrame: it is not of that type.
    """
    try:
        return decode(content)
    except UNREADABLE as error:
        raise malformed(name, error) from None
