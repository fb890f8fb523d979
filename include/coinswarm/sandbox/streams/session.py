"""What a venue says on one connection, without a socket: feeds that know what is due, and a session that answers.

A feed is a cursor over the simulated market. Whenever it is asked, it gives what happened since the last time, so two
connections that listen to the same thing hear the same, whenever they came.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from msgspec import DecodeError
from msgspec.json import Decoder

from coinswarm.sandbox.market.books import LEVELS, Book, Levels
from coinswarm.sandbox.market.model import HOUR
from coinswarm.sandbox.market.trades import Aggregate, Tape, Trade
from coinswarm.sandbox.protocol import Call, World

# A clock that was set forward further than this skips what lies between.
_LONGEST_CATCH_UP = HOUR
# More slots than this at once are told as one change, or as a new snapshot.
_MOST_SLOTS = 1_000
_decode = Decoder().decode


class Hangup(Exception):
    """A session's way to end the connection."""

    def __init__(self, code: int) -> None:
        """With a code of WebSocket."""
        super().__init__(code)
        self.code = code


class Message(NamedTuple):
    """One frame. `channel` (`trades`, `orderbook` …) and `symbol` are what stream faults match; answers have none."""

    payload: bytes
    channel: str = ""
    symbol: str = ""
    ping: bool = False


class Feed(Protocol):
    """One subscribed stream."""

    channel: str
    symbol: str

    def begin(self, now: int) -> Iterable[bytes]:
        """What a new subscription hears first."""
        ...

    def due(self, now: int) -> Iterable[bytes]:
        """What happened since the last time."""
        ...


class TradeFeed:
    """Trades, in batches of at least `every_ms`; `past` renders the trades that a new subscriber is told."""

    channel = "trades"

    def __init__(
        self,
        tape: Tape,
        render: Callable[[Sequence[Trade]], Iterable[bytes]],
        *,
        past: int = 0,
        render_past: Callable[[Sequence[Trade]], Iterable[bytes]] | None = None,
        every_ms: int = 0,
        where: Callable[[Trade], bool] | None = None,
        channel: str = "trades",
    ) -> None:
        self.channel = channel
        self.symbol = tape.listing.symbol
        self._tape = tape
        self._render = render
        self._past = past
        self._render_past = render_past or render
        self._every = every_ms
        self._where = where
        self._sent = 0
        self._asked = 0

    def begin(self, now: int) -> Iterable[bytes]:
        """The last trades, where the venue tells them."""
        self._sent, self._asked = _count(self._tape, now), now
        if self._past:
            yield from self._render_past(list(self._tape.take(self._sent - self._past + 1, self._sent)))

    def due(self, now: int) -> Iterable[bytes]:
        """Each trade once."""
        if 0 <= now - self._asked < self._every:
            return
        last, jump = _count(self._tape, now), now - self._asked
        first, self._sent, self._asked = self._sent + 1, last, now
        if last < first or not 0 <= jump <= _LONGEST_CATCH_UP:
            return
        trades = list(self._tape.take(first, last))
        if self._where is not None:
            trades = [trade for trade in trades if self._where(trade)]
        if trades:
            yield from self._render(trades)


class AggregateFeed:
    """Taker orders: one as soon as all of its trades are there."""

    def __init__(
        self,
        tape: Tape,
        render: Callable[[Sequence[Aggregate]], Iterable[bytes]],
        *,
        channel: str = "trades",
        where: Callable[[Aggregate], bool] | None = None,
    ) -> None:
        self.channel = channel
        self.symbol = tape.listing.symbol
        self._tape = tape
        self._render = render
        self._where = where
        self._sent = 0
        self._asked = 0

    def begin(self, now: int) -> Iterable[bytes]:
        """Nothing: the future only."""
        self._sent, self._asked = self._tape.complete_aggregates(_count(self._tape, now)), now
        return ()

    def due(self, now: int) -> Iterable[bytes]:
        """Each order once."""
        last = self._tape.complete_aggregates(_count(self._tape, now))
        first, jump = self._sent + 1, now - self._asked
        self._sent, self._asked = last, now
        if last < first or not 0 <= jump <= _LONGEST_CATCH_UP:
            return
        orders = list(self._tape.aggregates(first, last))
        if self._where is not None:
            orders = [order for order in orders if self._where(order)]
        if orders:
            yield from self._render(orders)


class BookFeed:
    """A book by its slots: `update` renders the changes from one slot to a later one, `snapshot` a whole book.

    Without `snapshot` the client gets its first book over REST, and a long pause is told as one large change.
    """

    def __init__(
        self,
        book: Book,
        update: Callable[[int, int, Levels], Iterable[bytes]],
        snapshot: Callable[[int, Levels], Iterable[bytes]] | None = None,
        *,
        depth: int = LEVELS,
        every_ms: int = 0,
        channel: str = "orderbook",
    ) -> None:
        self.channel = channel
        self.symbol = book.listing.symbol
        self._book = book
        self._update = update
        self._snapshot = snapshot
        self._depth = depth
        self._every = every_ms
        self._slot = 0

    def begin(self, now: int) -> Iterable[bytes]:
        """The whole book, where the venue tells it over the socket."""
        self._slot = self._book.slot(now)
        if self._snapshot is not None:
            yield from self._snapshot(self._slot, self._cut(self._book.levels(self._slot)))

    def due(self, now: int) -> Iterable[bytes]:
        """Changes of each slot since."""
        last = self._book.slot(now)
        first, self._slot = self._slot, last
        if last < first or last - first > _MOST_SLOTS:
            if self._snapshot is not None:
                yield from self._snapshot(last, self._cut(self._book.levels(last)))
            elif last > first:
                yield from self._update(first, last, self._book.changes(first, last, self._depth))
            return
        for slot in range(first + 1, last + 1):
            yield from self._update(slot - 1, slot, self._book.changes(slot - 1, slot, self._depth))

    def _cut(self, levels: Levels) -> Levels:
        return Levels(levels.bids[: self._depth], levels.asks[: self._depth])


class PeriodicFeed:
    """Something that is said every `step_ms` of the clock; a pause is not made up for."""

    def __init__(
        self,
        channel: str,
        symbol: str,
        step_ms: int,
        render: Callable[[int], Iterable[bytes]],
        *,
        first: Callable[[int], Iterable[bytes]] | None = None,
    ) -> None:
        self.channel = channel
        self.symbol = symbol
        self._step = step_ms
        # Not all at once.
        self._phase = sum((channel + symbol).encode()) * 37 % step_ms
        self._render = render
        self._first = first
        self._slot = 0

    def begin(self, now: int) -> Iterable[bytes]:
        """The state at the subscription, where the venue says it at once."""
        self._slot = self._at(now)
        return self._first(now) if self._first is not None else ()

    def due(self, now: int) -> Iterable[bytes]:
        """The newest of what was due."""
        slot = self._at(now)
        if slot == self._slot:
            return ()
        self._slot = slot
        return self._render(slot * self._step + self._phase)

    def _at(self, now: int) -> int:
        return (now - self._phase) // self._step


class Session(ABC):
    """One connection as a venue serves it; a ping that is not answered for `pong_seconds` ends it (0: no matter)."""

    pong_seconds = 0.0

    def __init__(self, world: World, call: Call) -> None:
        """`call` is the request that was upgraded."""
        self.world = world
        self.call = call
        self.feeds: dict[str, Feed] = {}
        # Subscriptions that are acknowledged and then say nothing.
        self.mute = False

    def opened(self, now: int) -> Iterable[Message]:
        """What the venue says before it is asked anything."""
        return ()

    def heard(self, text: bytes, now: int) -> Iterable[Message]:
        """Answers to what the client said."""
        try:
            request = _decode(text)
        except (DecodeError, RecursionError):
            return self.unreadable(text)
        return self.request(request, now) if isinstance(request, dict) else self.unreadable(text)

    @abstractmethod
    def request(self, request: dict[str, Any], now: int) -> Iterable[Message]:
        """Answers to a JSON object."""

    def unreadable(self, text: bytes) -> Iterable[Message]:
        """Answers to what is no JSON object."""
        return ()

    def due(self, now: int) -> Iterator[Message]:
        """What happened since the last time."""
        for feed in list(self.feeds.values()):
            for payload in feed.due(now):
                yield Message(payload, feed.channel, feed.symbol)

    def add(self, name: str, feed: Feed, now: int) -> Iterator[Message]:
        """Subscribe to a feed, and what it begins with."""
        if self.mute:
            return
        self.feeds[name] = feed
        for payload in feed.begin(now):
            yield Message(payload, feed.channel, feed.symbol)


def _count(tape: Tape, now: int) -> int:
    return tape.count_before((now + 1) * 1000)
