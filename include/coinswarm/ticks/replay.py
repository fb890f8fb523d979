"""Recorded frames through the code that live ones go through: decoder, continuity, chain, book, checksum."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from typing import Any

from msgspec.structs import replace

from coinswarm.errors import UserError
from coinswarm.ticks.book import Book
from coinswarm.ticks.captures import Captured, channel_of
from coinswarm.ticks.integrity import DUPLICATE, Continuity, Hole
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Event,
    Funding,
    Heartbeat,
    Liquidation,
    MalformedFrame,
    OpenInterest,
    OptionTick,
    TopOfBook,
    Trade,
    Unknown,
    VolatilityIndex,
)
from coinswarm.ticks.protocol import BookRule, Step, Venue

_CHECKED_LEVELS = 25
_SHOWN = 20
_WAITING_UPDATES = 100_000
_SNAPSHOT_START = b'{"lastUpdateId"'

# Name on the command line: module of the venue and its market. Those of retired protocols are for recordings only.
VENUES: Mapping[str, tuple[str, str]] = {
    "binance_spot": ("binance", "spot"),
    "binance_usdm": ("binance", "usdm"),
    "binance_coinm": ("binance", "coinm"),
    "bybit_linear": ("bybit", "linear"),
    "bybit_spot": ("bybit", "spot"),
    "bybit_v2": ("legacy_bybit", "bybit_v2"),
    "coinbase": ("coinbase", "spot"),
    "coinbase_exchange": ("legacy_coinbase", "coinbase_exchange"),
    "deribit": ("deribit", "deribit"),
    "kraken": ("kraken", "spot"),
    "kraken_v1": ("legacy_kraken", "spot"),
    "kraken_futures": ("kraken_futures", "futures"),
    "okx": ("okx", "okx"),
}
_RETIRED = {"bybit_linear": "bybit_v2", "coinbase": "coinbase_exchange", "kraken": "kraken_v1"}
_JUDGED_FRAMES = 200
_NAMES: tuple[tuple[type, str], ...] = (
    (Trade, "trades"),
    (TopOfBook, "top_of_book"),
    (Liquidation, "liquidations"),
    (Funding, "funding"),
    (OpenInterest, "open_interest"),
    (OptionTick, "options"),
    (VolatilityIndex, "volatility"),
    (Heartbeat, "heartbeats"),
)


@dataclass(slots=True)
class Replayed:
    """What a recording holds.

    `missing` counts trades that the venue's numbers say are not in it, `holes` are those that no later message closed;
    `chain_breaks` are those of the books' updates among themselves, with or without a snapshot.
    """

    messages: int = 0
    channels: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    malformed: list[str] = field(default_factory=list)
    malformed_count: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    holes: dict[str, tuple[Hole, ...]] = field(default_factory=dict)
    duplicates: int = 0
    steps: Counter[Step] = field(default_factory=Counter)
    chain_breaks: int = 0
    checksums: Counter[str] = field(default_factory=Counter)
    crossed: int = 0
    first: dict[str, Trade] = field(default_factory=dict)
    last: dict[str, Trade] = field(default_factory=dict)
    books: dict[str, Book] = field(default_factory=dict)
    books_seen: dict[str, None] = field(default_factory=dict)
    """Instruments of which there are updates, and (`books_over_rest`) whose snapshot is not among them."""
    books_over_rest: set[str] = field(default_factory=set)

    def to_json(self) -> dict[str, Any]:
        """JSON-safe form; numbers of the venue stay text."""
        tops = {symbol: book.best() for symbol, book in sorted(self.books.items())}
        return {
            "messages": self.messages,
            "channels": dict(sorted(self.channels.items())),
            "events": dict(sorted(self.events.items())),
            "unknown": dict(sorted(self.unknown.items())),
            "malformed": {"count": self.malformed_count, "examples": self.malformed},
            "trades_missing": dict(sorted(self.missing.items())),
            "trades_repeated": self.duplicates,
            "gaps": [
                {"symbol": symbol, "first_missing": hole.first_missing, "last_missing": hole.last_missing}
                for symbol, holes in sorted(self.holes.items())
                for hole in holes
            ],
            "book_updates": {step.value: self.steps[step] for step in Step},
            "book_chain_breaks": self.chain_breaks,
            "checksums": {"matching": self.checksums["matching"], "failing": self.checksums["failing"]},
            "crossed_books": self.crossed,
            "trades": {
                symbol: {"first": _shown(trade), "last": _shown(self.last[symbol])}
                for symbol, trade in sorted(self.first.items())
            },
            "best": {symbol: {"bid": top[0], "ask": top[1]} for symbol, top in tops.items() if top is not None},
        }


def venue_named(name: str) -> Venue:
    """The venue's decoder for any symbol, also those that are not in the registry.

    Raises:
        UserError: there is none of that name; the message lists those that exist.
    """
    if name not in VENUES:
        raise UserError(f"no venue {name[:40]!r} to replay; there are {', '.join(VENUES)}")
    module, market = VENUES[name]
    found: tuple[Venue, ...] = import_module(f"coinswarm.ticks.venues.{module}").connections(market, None)
    return found[0]


def protocol_of(name: str, frames: Iterable[Captured]) -> str:
    """Name of the protocol that a venue's recording is in: `name`, or the one that the venue has retired since.

    Raises:
        UserError: there is no such venue.
    """
    spoken = venue_named(name)
    if name not in _RETIRED:
        return name
    first = [captured.frame for captured in islice(frames, _JUDGED_FRAMES)]
    retired = venue_named(_RETIRED[name])
    return _RETIRED[name] if _understood(retired, first) > _understood(spoken, first) else name


def _understood(venue: Venue, frames: Iterable[bytes]) -> int:
    count = 0
    for frame in frames:
        try:
            count += any(not isinstance(event, Unknown) for event in venue.decode(frame))
        except MalformedFrame:
            continue
    return count


def replay(venue: Venue, frames: Iterable[Captured], delay: Callable[[Captured], float] | None = None) -> Replayed:
    """Take in a recording.

    A body of a REST snapshot between the frames is taken as the snapshot of the one instrument that the recording has
    books of.

    Args:
        venue: whose frames they are.
        frames: the recording.
        delay: seconds to wait before a message.
    """
    return _Replay(venue).run(frames, delay)


class _Replay:
    def __init__(self, venue: Venue) -> None:
        self._venue = venue
        self._found = Replayed()
        self._continuity: dict[str, Continuity] = {}
        self._rules: dict[str, BookRule] = {}
        self._chains: dict[str, BookRule] = {}
        # A book that comes by REST waits for it; what came before is looked at again then, as in a live feed.
        self._waiting: dict[str, deque[BookUpdate]] = {}

    def run(self, frames: Iterable[Captured], delay: Callable[[Captured], float] | None) -> Replayed:
        found = self._found
        for captured in frames:
            if delay is not None:
                time.sleep(delay(captured))
            found.messages += 1
            found.channels[channel_of(captured.frame)] += 1
            try:
                events = self._events(captured.frame)
            except MalformedFrame as error:
                found.malformed_count += 1
                if len(found.malformed) < _SHOWN:
                    found.malformed.append(str(error)[:300])
                continue
            for event in events:
                self._take(event)
        found.holes = {symbol: seen.holes for symbol, seen in self._continuity.items() if seen.holes}
        return found

    def _events(self, frame: bytes) -> Iterable[Event]:
        if is_rest_snapshot(frame) and len(self._waiting) == 1:
            return (self._venue.decode_snapshot(next(iter(self._waiting)), frame),)
        return self._venue.decode(frame)

    def _take(self, event: Event) -> None:
        found = self._found
        if isinstance(event, BookUpdate):
            found.events["book_snapshots" if event.snapshot else "book_updates"] += 1
            self._book(event)
        elif isinstance(event, Ack):
            found.events["acks" if event.accepted else "refusals"] += 1
        elif isinstance(event, Unknown):
            found.unknown[event.kind] += 1
        else:
            name = next((name for kind, name in _NAMES if isinstance(event, kind)), "")
            if name:
                found.events[name] += 1
            if isinstance(event, Trade):
                self._trade(event)

    def _trade(self, trade: Trade) -> None:
        found = self._found
        found.first.setdefault(trade.symbol, trade)
        found.last[trade.symbol] = trade
        if trade.first < 0:
            return
        seen = self._continuity.setdefault(trade.symbol, Continuity()).check(trade.first, trade.last)
        if seen is DUPLICATE:
            found.duplicates += 1
        elif isinstance(seen, Hole):
            found.missing[trade.symbol] += seen.size

    def _book(self, update: BookUpdate) -> None:
        symbol = update.symbol
        if symbol not in self._rules:
            self._rules[symbol] = self._venue.book_rule(symbol)
            self._found.books_seen[symbol] = None
            if not update.snapshot:
                self._found.books_over_rest.add(symbol)
                self._waiting[symbol] = deque(maxlen=_WAITING_UPDATES)
        waiting = self._waiting.get(symbol)
        if waiting is None or not update.snapshot:
            self._follow(update)
        if waiting is not None and not update.snapshot:
            waiting.append(update)
            return
        self._apply(update)
        for earlier in self._waiting.pop(symbol, ()):
            self._apply(earlier)

    def _follow(self, update: BookUpdate) -> None:
        symbol = update.symbol
        chain = self._chains.get(symbol)
        if chain is not None:
            if chain.check(update) is not Step.RESYNC:
                return
            self._found.chain_breaks += 1
        # The first one, and that after a break, begins a chain as a snapshot does.
        self._chains[symbol] = chain = self._venue.book_rule(symbol)
        chain.check(replace(update, snapshot=True))

    def _apply(self, update: BookUpdate) -> None:
        found, symbol = self._found, update.symbol
        step = self._rules[symbol].check(update)
        found.steps[step] += 1
        if step is not Step.APPLY:
            return
        book = found.books.setdefault(symbol, Book(symbol, self._venue.book_depth))
        book.apply(update)
        found.crossed += book.crossed
        if update.checksum >= 0:
            matches = self._venue.checksum(symbol, *book.top(_CHECKED_LEVELS)) == update.checksum
            found.checksums["matching" if matches else "failing"] += 1


def is_rest_snapshot(frame: bytes) -> bool:
    """Whether it is the body of a REST snapshot, which recorders put between the frames."""
    return frame.startswith(_SNAPSHOT_START)


def _shown(trade: Trade) -> dict[str, Any]:
    return {
        "id": trade.id,
        "price": trade.price,
        "size": trade.native or trade.size,
        "side": trade.side,
        "ts": trade.ts,
    }


def pace(speed: str) -> Callable[[Captured], float] | None:
    """Seconds to wait before a message: None for `full` speed, or as long as it took when it was recorded.

    Raises:
        UserError: it is neither `full` nor `original`.
    """
    if speed == "full":
        return None
    if speed != "original":
        raise UserError(f"speed is {speed[:20]!r}: `full` or `original`")
    started: list[tuple[int, float]] = []

    def delay(captured: Captured) -> float:
        if not captured.received_ns:
            return 0.0
        if not started:
            started.append((captured.received_ns, time.monotonic()))
        then, now = started[0]
        return max(0.0, now + (captured.received_ns - then) / 1e9 - time.monotonic())

    return delay
