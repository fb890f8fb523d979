"""A recording into Redis, through the feeds, books and writer that live frames go through.

It goes to a logical database of its own: symbols are the venue's own, so that old trades must not come among live ones.
What an earlier replay left in the same streams is dropped first.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.ticks.book_keeper import BookCounters, BookKeeper
from coinswarm.ticks.captures import Captured
from coinswarm.ticks.feeds import STREAMS_KEY, Feeds
from coinswarm.ticks.gaps import Gap, Gaps
from coinswarm.ticks.lease import Cursor, Lease
from coinswarm.ticks.model import BookUpdate, Channel, Event, MalformedFrame, TopOfBook
from coinswarm.ticks.protocol import BookRule, Ping, Proof, Stream, Venue
from coinswarm.ticks.redis_link import RedisLink, Replies
from coinswarm.ticks.replay import Replayed, is_rest_snapshot
from coinswarm.ticks.resp import command, wire
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.writer import Upkeep, Writer

DATABASE = 1
_TURN_FRAMES = 500
_PATIENCE_SECONDS = 15.0
_CLOSE_SECONDS = 60.0
_OVER_REST = "recording:"


@dataclass(frozen=True, slots=True)
class Written:
    """What is in Redis afterwards: entries by stream, and gaps as a live feed would have recorded them."""

    database: int
    seconds: float
    entries: dict[str, int]
    gaps: list[Gap]

    def to_json(self) -> dict[str, Any]:
        """JSON-safe form."""
        return {
            "database": self.database,
            "seconds": round(self.seconds, 2),
            "entries": self.entries,
            "gaps": len(self.gaps),
        }


async def write(
    name: str,
    venue: Venue,
    found: Replayed,
    frames: Iterable[Captured],
    connection: Connection,
    database: int = DATABASE,
    delay: Callable[[Captured], float] | None = None,
) -> Written:
    """Write a recording.

    Args:
        name: what the replay is called, for its lease.
        venue: whose frames they are, for any symbol.
        found: what `replay` found in the same recording; it says which streams there are.
        frames: the recording.
        connection: the live Redis.
        database: logical database of that Redis, another one than the live one.
        delay: seconds to wait before a message.

    Raises:
        UserError: it is the live database.
        StoreUnavailable: Redis does not answer.
    """
    if database == int(connection.schema or 0):
        raise UserError(f"database {database} holds the live ticks: replay into another one")
    target = replace(connection, schema=str(database))
    return await _Replay(name, _Recorded(venue, found), found, target, database).run(frames, delay)


class _Recorded:
    """A venue whose streams are those of the recording, and whose REST snapshots are in it."""

    ping: Ping | None = None

    def __init__(self, venue: Venue, found: Replayed) -> None:
        self._venue = venue
        self.slug, self.name, self.url = venue.slug, venue.name, venue.url
        self.lifetime_seconds = venue.lifetime_seconds
        self.book_depth = venue.book_depth
        self._over_rest = found.books_over_rest
        self.streams: tuple[Stream, ...] = (
            *(
                Stream(Channel.TRADES, symbol, Proof.SEQUENCE if trade.first >= 0 else Proof.NONE, 0.0)
                for symbol, trade in found.first.items()
            ),
            *(Stream(Channel.BOOK, symbol, Proof.NONE, 0.0) for symbol in found.books_seen),
        )

    def subscribe(self) -> tuple[bytes, ...]:
        return ()

    def resubscribe(self, stream: Stream) -> tuple[bytes, ...]:
        return ()

    def decode(self, frame: bytes) -> Sequence[Event]:
        return self._venue.decode(frame)

    def book_rule(self, symbol: str) -> BookRule:
        return self._venue.book_rule(symbol)

    def checksum(self, symbol: str, bids: Sequence[tuple[str, str]], asks: Sequence[tuple[str, str]]) -> int | None:
        return self._venue.checksum(symbol, bids, asks)

    def base_size(self, symbol: str, native: str, price: str) -> str:
        return self._venue.base_size(symbol, native, price)

    def snapshot_url(self, symbol: str) -> str:
        return f"{_OVER_REST}{symbol}" if symbol in self._over_rest else ""

    def decode_snapshot(self, symbol: str, body: bytes) -> BookUpdate:
        return self._venue.decode_snapshot(symbol, body)


@dataclass(slots=True)
class _Replay:
    """Host of the writer and of the books, and origin of the events: a pump without sockets and ledger."""

    name: str
    venue: _Recorded
    found: Replayed
    connection: Connection
    database: int
    in_charge: bool = True
    writing: bool = True
    gaps: list[Gap] = field(default_factory=list)
    writer: Writer = field(init=False)
    feeds: Feeds = field(init=False)
    books: BookKeeper = field(init=False)
    _granted: asyncio.Event = field(default_factory=asyncio.Event)
    _flowing: asyncio.Event = field(default_factory=asyncio.Event)
    _problem: str = ""
    _snapshots: dict[str, Callable[[bytes | None], None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # No group waits here for the archive to read.
        settings = TickSettings(ledger_connection="", archive_group="")
        lease = Lease(f"replay_{self.name}", f"replay:{os.getpid()}", settings.lease_seconds)
        self.writer = Writer(lease, self.connection, settings, self)
        self.feeds = Feeds(self.venue.slug, self.venue.streams, settings, self.writer, Gaps(self.gaps.append))
        self.books = BookKeeper(self.venue, self.feeds, settings, self, BookCounters())
        self._flowing.set()

    async def run(self, frames: Iterable[Captured], delay: Callable[[Captured], float] | None) -> Written:
        await self._ask(command("DEL", *self._keys()))
        started = time.monotonic()
        writing = asyncio.ensure_future(self.writer.run())
        ticking = asyncio.ensure_future(self._tick())
        try:
            await self._first_of(writing, self._granted, "Redis gave no lease")
            for number, captured in enumerate(frames):
                seconds = delay(captured) if delay is not None else 0.0
                if seconds or number % _TURN_FRAMES == 0:
                    await asyncio.sleep(seconds)
                    await self._first_of(writing, self._flowing, "Redis does not take the entries")
                self._take(captured)
            self.books.publish(time.time_ns() // 1_000_000)
            self.writer.pending += self.feeds.latest_commands()
            if not await self.writer.close({}, _CLOSE_SECONDS):
                raise StoreUnavailable(self._problem or "Redis did not take all entries in time")
        finally:
            for task in (writing, ticking):
                task.cancel()
            await asyncio.gather(writing, ticking, return_exceptions=True)
        seconds = time.monotonic() - started
        keys = self._keys()
        lengths = await self._ask(*(command("XLEN", key) for key in keys))
        entries = {key: int(length) for key, length in zip(keys, lengths, strict=True) if length}
        return Written(self.database, seconds, entries, self.gaps)

    def _keys(self) -> list[str]:
        return sorted({feed.key for feed in self.feeds}) or [STREAMS_KEY]

    def _take(self, captured: Captured) -> None:
        recv_ms = (captured.received_ns or time.time_ns()) // 1_000_000
        if is_rest_snapshot(captured.frame) and len(self._snapshots) == 1:
            _, got = self._snapshots.popitem()
            got(captured.frame)
            return
        try:
            events = self.venue.decode(captured.frame)
        except MalformedFrame:
            return  # `replay` has counted it
        self.feeds.take(self, events, recv_ms)

    async def _first_of(self, writing: asyncio.Future[None], event: asyncio.Event, otherwise: str) -> None:
        if event.is_set() and not writing.done():
            return
        waiting: asyncio.Future[Any] = asyncio.ensure_future(event.wait())
        try:
            await asyncio.wait((writing, waiting), timeout=_PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if writing.done():
            writing.result()
        if not event.is_set():
            raise StoreUnavailable(self._problem or otherwise)

    async def _ask(self, *commands: str) -> Replies:
        link = RedisLink()
        await link.open(self.connection, "coinswarm-replay", _PATIENCE_SECONDS)
        try:
            replies = await link.ask(wire(list(commands)), len(commands))
        finally:
            link.close()
        failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
        if failed is not None:
            raise StoreUnavailable(str(failed))
        return replies

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.writer.tick()

    # Origin of events, host of the books

    def book(self, event: BookUpdate | TopOfBook, recv_ms: int) -> None:
        self.books.take(event, recv_ms)

    def control(self, event: Event) -> None:
        """Nobody is there to be answered."""

    def send(self, frames: Iterable[bytes]) -> None:
        """As above."""

    def fetch(self, url: str, got: Callable[[bytes | None], None]) -> None:
        self._snapshots[url] = got

    def restart(self, reason: str) -> None:
        """There is no other connection: the next snapshot of the recording will do."""

    # Host of the writer

    def cursor_fields(self) -> dict[str, str]:
        return self.feeds.cursor_fields()

    def upkeep(self) -> Upkeep:
        return Upkeep(self.feeds.latest_commands(), self.feeds.key_commands())

    def upkeep_done(self, upkeep: Upkeep, replies: Replies | None) -> None:
        if replies is None:
            self.feeds.repeat_latest()
            self.feeds.repeat_keys()

    def granted(self, cursor: Cursor, token: int) -> None:
        self._granted.set()

    def forgotten(self, cursor: Cursor) -> None:
        """A replay can be done again."""

    def rejected(self, errors: Mapping[str, str], count: int, from_ms: int) -> None:
        key, error = next(iter(errors.items()))
        self._problem = f"Redis rejects entries of {key}: {error}"

    def wished(self, owner: str) -> None:
        """Another replay of the same venue waits its turn."""

    def pressure(self, high: bool) -> None:
        if high:
            self._flowing.clear()
        else:
            self._flowing.set()

    def trouble(self, reason: str) -> None:
        self._problem = reason
