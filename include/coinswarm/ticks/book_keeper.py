"""The books of one socket: built from snapshots, kept by updates, invalid as soon as the chain breaks.

An invalid book publishes nothing until its next snapshot, which is asked for over the socket, over REST, or by
connecting anew, as the venue has it.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Protocol

from coinswarm.ticks.book import Book
from coinswarm.ticks.derived import OrderFlow, imbalance, plain, spread_bps, trade_imbalance
from coinswarm.ticks.feeds import Feeds
from coinswarm.ticks.gaps import GapReason
from coinswarm.ticks.model import BookUpdate, Channel, Level, MalformedFrame, TopOfBook, Trade
from coinswarm.ticks.protocol import Step, Stream, Venue
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.verdicts import Trouble

WAITING_UPDATES = 10_000
_PATIENCE_SECONDS = 15.0
_ATTEMPTS = 4
_LONGEST_SECONDS = 60.0
_AGAIN_SECONDS = 1.0
_CHECKSUM_LEVELS = 25


class BookHost(Protocol):
    """The socket that the books come over."""

    @property
    def in_charge(self) -> bool:
        """Whether this socket is the one that is written."""
        ...

    def send(self, frames: Iterable[bytes]) -> None:
        """To the venue."""
        ...

    def fetch(self, url: str, got: Callable[[bytes | None], None]) -> None:
        """Ask REST; `got` is called in the loop, with None if it failed."""
        ...

    def restart(self, reason: str) -> None:
        """Connect anew."""
        ...


class LiveBook:
    """One book, with what is needed to build it again."""

    __slots__ = (
        "attempts",
        "book",
        "changed",
        "fetching",
        "flow",
        "last",
        "published_ms",
        "recv_ms",
        "retry_at",
        "rule",
        "stream",
        "ts",
        "uses_top",
        "valid",
        "valid_at",
        "waiting",
    )

    def __init__(self, venue: Venue, stream: Stream) -> None:
        self.stream = stream
        self.book = Book(stream.symbol, venue.book_depth)
        self.rule = venue.book_rule(stream.symbol)
        self.flow = OrderFlow()
        self.valid = False
        self.valid_at = 0.0
        self.changed = False
        self.uses_top = False
        self.fetching = False
        self.waiting: deque[BookUpdate] = deque(maxlen=WAITING_UPDATES)
        self.attempts = 0
        self.retry_at = time.monotonic() + _PATIENCE_SECONDS
        self.ts = 0
        self.last = -1
        self.published_ms = 0
        self.recv_ms = 0


class BookCounters:
    """Of one shard."""

    __slots__ = ("checksum_failures", "checksums", "crossed", "published", "resyncs", "updates")

    def __init__(self) -> None:
        self.checksum_failures = self.checksums = self.crossed = self.published = self.resyncs = self.updates = 0


class BookKeeper:
    """All books of one socket."""

    def __init__(
        self, venue: Venue, feeds: Feeds, settings: TickSettings, host: BookHost, counters: BookCounters
    ) -> None:
        self._venue = venue
        self._feeds = feeds
        self._settings = settings
        self._host = host
        self._counters = counters
        self._books = {
            stream.symbol: LiveBook(venue, stream) for stream in venue.streams if stream.channel is Channel.BOOK
        }

    @property
    def all_valid(self) -> bool:
        """Whether every book has its snapshot."""
        return all(live.valid for live in self._books.values())

    def take(self, event: BookUpdate | TopOfBook, recv_ms: int) -> None:
        """Apply an event."""
        live = self._books.get(event.symbol)
        if live is None:
            return
        live.recv_ms = recv_ms
        if type(event) is BookUpdate:
            self._counters.updates += 1
            if self._host.in_charge:
                self._feeds.heard(self._feeds.get(Channel.BOOK, event.symbol), event.ts, recv_ms)
            self._update(live, event)
            if live.changed and self._host.in_charge:
                self._publish_if_due(live, recv_ms)
        elif type(event) is TopOfBook:
            live.uses_top = True
            if live.valid:
                self._see_flow(live, event.bid, event.bid_size, event.ask, event.ask_size)

    def broken(self, symbol: str | None, trouble: Trouble, why: str) -> None:
        """The chain of a book (None: of all) is broken: ask for a snapshot."""
        for live in self._books.values():
            if symbol is None or live.stream.symbol == symbol:
                self._break(live, trouble, why)

    def tick(self) -> None:
        """Ask again where no snapshot came in time, and connect anew if that does not help."""
        now = time.monotonic()
        for live in self._books.values():
            if not live.valid and now >= live.retry_at:
                self._ask(live)

    def in_charge(self, now_ms: int, *, replaces: bool = False) -> None:
        """From now on these are the books that are written, or were before by a socket that these `replace`."""
        for live in self._books.values():
            feed = self._feeds.get(Channel.BOOK, live.stream.symbol)
            # What it was before is the other's to tell.
            live.flow.take()
            if live.valid:
                self._feeds.resumed(feed, now_ms)
                self._watch_trades(live)
                live.changed = True
            elif replaces:
                self._feeds.interrupted(feed, GapReason.DISCONNECT, now_ms, why="no book on the new socket")
            elif feed.minutes.down_since is None:
                feed.minutes.down_since = now_ms

    def publish(self, now_ms: int) -> None:
        """Write the books that have changed, each at most every `book_seconds`."""
        for live in self._books.values():
            if live.changed:
                self._publish_if_due(live, now_ms)

    def _publish_if_due(self, live: LiveBook, now_ms: int) -> None:
        if live.valid and now_ms - live.published_ms >= self._settings.book_seconds * 1000:
            self._publish(live, now_ms)

    def _publish(self, live: LiveBook, now_ms: int) -> None:
        symbol = live.stream.symbol
        depth = max(self._settings.book_levels, self._settings.imbalance_levels)
        bids, asks = (self._in_base(symbol, side) for side in live.book.top(depth))
        live.changed = False
        live.published_ms = now_ms
        if not bids or not asks or not live.ts:
            return
        wide, shown = self._settings.imbalance_levels, self._settings.book_levels
        fields = {
            "venue": self._venue.slug,
            "bids": _json(bids[:shown]),
            "asks": _json(asks[:shown]),
            "spread_bps": plain(spread_bps(Decimal(bids[0][0]), Decimal(asks[0][0]))),
            "imbalance": plain(imbalance(bids[:wide], asks[:wide])),
            "ofi": plain(live.flow.take()),
            "trade_imbalance": plain(trade_imbalance(self._trades(symbol))),
            "ts": str(live.ts),
            "recv": str(live.recv_ms),
        }
        if live.last >= 0:
            fields["seq"] = str(live.last)
        self._counters.published += 1
        self._feeds.write_snapshot(self._feeds.get(Channel.BOOK, symbol), fields)

    def _trades(self, symbol: str) -> list[Trade]:
        feed = self._feeds.trades.get(symbol)
        if feed is None or feed.flow is None:
            return []
        trades, feed.flow = feed.flow, []
        return trades

    def _update(self, live: LiveBook, update: BookUpdate) -> None:
        over_rest = not live.valid and not update.snapshot and self._venue.snapshot_url(live.stream.symbol)
        if over_rest:
            live.waiting.append(update)
            if not live.fetching and not live.attempts:
                self._ask(live)
            return
        step = live.rule.check(update)
        if step is Step.APPLY:
            self._apply(live, update)
        elif step is Step.RESYNC:
            self._break(live, Trouble.RESYNC, "sequence")

    def _apply(self, live: LiveBook, update: BookUpdate) -> None:
        book = live.book
        book.apply(update)
        live.ts, live.last = update.ts, update.last
        if update.checksum >= 0:
            levels = min(self._venue.book_depth, _CHECKSUM_LEVELS)
            expected = self._venue.checksum(live.stream.symbol, *book.top(levels))
            if expected is not None:
                self._counters.checksums += 1
                if expected != update.checksum:
                    self._counters.checksum_failures += 1
                    self._break(live, Trouble.CHECKSUM, "checksum")
                    return
        if book.crossed:
            self._counters.crossed += 1
            self._break(live, Trouble.RESYNC, "crossed")
            return
        live.changed = True
        if update.snapshot or not live.valid:
            self._settled(live)
        self._see_best(live)

    def _see_best(self, live: LiveBook) -> None:
        best = None if live.uses_top else live.book.best()
        if best is not None:
            (bid, bid_size), (ask, ask_size) = best
            self._see_flow(live, bid, bid_size, ask, ask_size)

    def _see_flow(self, live: LiveBook, bid: str, bid_size: str, ask: str, ask_size: str) -> None:
        base, symbol = self._venue.base_size, live.stream.symbol
        try:
            live.flow.see(bid, base(symbol, bid_size, bid), ask, base(symbol, ask_size, ask))
        except MalformedFrame:
            live.flow.forget()

    def _settled(self, live: LiveBook) -> None:
        was_valid, live.valid = live.valid, True
        if not was_valid:
            live.valid_at = time.monotonic()
        live.waiting.clear()
        if not was_valid and self._host.in_charge:
            feed = self._feeds.get(Channel.BOOK, live.stream.symbol)
            self._feeds.resumed(feed, time.time_ns() // 1_000_000)
            self._watch_trades(live)

    def _watch_trades(self, live: LiveBook) -> None:
        trades = self._feeds.trades.get(live.stream.symbol)
        if trades is not None and trades.flow is None:
            trades.flow = []

    def _break(self, live: LiveBook, trouble: Trouble, why: str) -> None:
        symbol = live.stream.symbol
        was_valid, live.valid = live.valid, False
        # Not every rule can know (a frame of the connection is missing): only a snapshot makes this book valid again.
        live.rule = self._venue.book_rule(symbol)
        live.changed = False
        live.ts = 0
        live.flow.forget()
        live.waiting.clear()
        self._counters.resyncs += 1
        if self._host.in_charge:
            now_ms = time.time_ns() // 1_000_000
            feed = self._feeds.get(Channel.BOOK, symbol)
            feed.minutes.flag(now_ms, now_ms, trouble, gaps=1)
            if was_valid:
                reason = GapReason.CHECKSUM if trouble is Trouble.CHECKSUM else GapReason.SEQUENCE
                self._feeds.interrupted(feed, reason, now_ms, why=why)
        now = time.monotonic()
        if was_valid and now - live.valid_at >= _PATIENCE_SECONDS:
            live.attempts = 0
        if not live.attempts or now >= live.retry_at:
            self._ask(live)
        elif was_valid:
            # It breaks as soon as it is there: not at the network's speed.
            live.retry_at = now + _AGAIN_SECONDS * 2 ** min(live.attempts, _ATTEMPTS)

    def _ask(self, live: LiveBook) -> None:
        if live.fetching:
            return
        live.attempts += 1
        if live.attempts > _ATTEMPTS and not self._venue.snapshot_url(live.stream.symbol):
            self._host.restart(f"no valid book of {live.stream.symbol}")
            return
        live.retry_at = time.monotonic() + min(_PATIENCE_SECONDS * 2 ** min(live.attempts - 1, 4), _LONGEST_SECONDS)
        url = self._venue.snapshot_url(live.stream.symbol)
        if url:
            live.fetching = True
            self._host.fetch(url, lambda body: self._fetched(live, body))
            return
        frames = self._venue.resubscribe(live.stream)
        if frames:
            self._host.send(frames)
        elif live.attempts > 1:
            self._host.restart(f"no valid book of {live.stream.symbol}")

    def _fetched(self, live: LiveBook, body: bytes | None) -> None:
        live.fetching = False
        if live.valid:
            return
        live.retry_at = time.monotonic() + random.uniform(0.5, 1.5) * min(live.attempts, 30)
        if body is None:
            return
        try:
            snapshot = self._venue.decode_snapshot(live.stream.symbol, body)
        except MalformedFrame:
            return
        live.rule = self._venue.book_rule(live.stream.symbol)
        if live.rule.check(snapshot) is not Step.APPLY:
            return
        live.book.apply(snapshot)
        waiting = list(live.waiting)
        for index, update in enumerate(waiting):
            step = live.rule.check(update)
            if step is Step.APPLY:
                live.book.apply(update)
                live.ts, live.last = update.ts, update.last
            elif step is Step.RESYNC:
                # The snapshot is older than what we heard first (ask again), or the chain broke on the way.
                live.waiting = deque(waiting[index:], maxlen=WAITING_UPDATES)
                return
        if live.book.crossed:
            self._counters.crossed += 1
            return
        # Some snapshots have no time: they are as new as the updates that they hold already.
        live.ts = max(live.ts, snapshot.ts, *(update.ts for update in waiting[-1:]))
        live.last = max(live.last, snapshot.last)
        live.changed = True
        self._settled(live)
        self._see_best(live)

    def _in_base(self, symbol: str, levels: list[Level]) -> list[Level]:
        base = self._venue.base_size
        return [(price, base(symbol, size, price)) for price, size in levels]


def _json(levels: list[Level]) -> str:
    # Numbers were checked by the decoder: no character needs escaping.
    return "[" + ",".join(f'["{price}","{size}"]' for price, size in levels) + "]"
