"""The pump of one shard: venues' sockets to Redis Streams, with every hole known."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import uuid4

import hiredis

from coinswarm.connections import Connection, Resolver
from coinswarm.connections import resolve as resolve_connection
from coinswarm.sources import source_named
from coinswarm.ticks import verdicts
from coinswarm.ticks.book_keeper import BookCounters
from coinswarm.ticks.feeds import Feeds, TradeFeed
from coinswarm.ticks.gaps import Gap, GapReason, Gaps
from coinswarm.ticks.lease import Cursor, Lease
from coinswarm.ticks.ledger import GapNote, Ledger, SessionEvent
from coinswarm.ticks.model import Channel
from coinswarm.ticks.past_entries import gaps_key, kept_gaps, seed_recent
from coinswarm.ticks.protocol import Venue
from coinswarm.ticks.redis_link import Replies
from coinswarm.ticks.resp import command
from coinswarm.ticks.rest import Rest
from coinswarm.ticks.session import Session, SessionCounters
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.shards import CROSS_VENUE, check_shard, connections_of
from coinswarm.ticks.trimming import Trimming
from coinswarm.ticks.writer import LeaseLost, Upkeep, Writer

MALFORMED_KEY = "ticks:malformed"
_SHOWN_BYTES = 2048
_TURN_SECONDS = 0.05
_LOOK_SECONDS = 0.25
_PRESSED_SECONDS = 1.0
_CLOSE_SECONDS = 5.0
_log = logging.getLogger(__name__)


class PumpState(StrEnum):
    """What a pump tells about itself; ticks are never told."""

    STARTED = "started"  # connecting, or waiting for the lease
    LIVE = "live"  # it writes
    DEGRADED = "degraded"  # Redis or a venue is away
    RECOVERED = "recovered"
    DUE = "due"  # `session_seconds` are over: it goes on until a successor takes over, or `linger_seconds` pass
    HANDED_OVER = "handed_over"  # a successor writes from here on
    ENDED = "ended"  # always the last


@dataclass(frozen=True, slots=True)
class PumpChange:
    """A change of state. `counters` are those of `ticks:stats:<shard>` at that moment."""

    state: PumpState
    reason: str
    counters: Mapping[str, Any] = field(default_factory=dict)


class Part(Protocol):
    """What brings events: a session of a venue, or the reader across venues."""

    async def run(self) -> None:
        """Work until cancelled."""
        ...

    def activate(self) -> None:
        """Events may be written from now on."""
        ...

    def pause(self, paused: bool) -> None:
        """Stop reading, or read on."""
        ...

    def tick(self, now_ms: int) -> None:
        """Look after itself."""
        ...

    def turn(self, now_ms: int) -> None:
        """Publish what is due."""
        ...

    @property
    def warm(self) -> bool:
        """Whether it could take over without a hole."""
        ...


class Pump:
    """One shard's pump, for one run."""

    def __init__(
        self, shard: str, settings: TickSettings | None = None, resolve: Resolver = resolve_connection
    ) -> None:
        """Nothing is connected before `run`.

        Raises:
            UserError: there is no such shard.
        """
        check_shard(shard)
        self.shard = shard
        self.session_id = uuid4()
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{self.session_id.hex[:8]}"
        self.writing = False
        self._settings = settings or TickSettings()
        self._resolve = resolve
        self._changes: asyncio.Queue[PumpChange] = asyncio.Queue()
        self._problems: dict[str, str] = {}
        self._degraded = False
        self._stopping = ""
        self._stop = asyncio.Event()
        self._stopped = asyncio.Event()
        self._running = False
        self._state = "ended"
        self._broken: BaseException | None = None
        self._token = 0
        self._begin: asyncio.Future[None] | None = None
        self._counters = SessionCounters()
        self._books = BookCounters()
        self._lag_ms = 0.0
        self._pressed_at = 0.0
        self._started_at = 0.0
        self._warned: set[str] = set()

    async def run(self, session_seconds: float | None = None) -> AsyncGenerator[PumpChange, None]:
        """Pump until stopped, handed over, or due.

        After `session_seconds` it yields `due` and goes on for `linger_seconds`, so that whoever iterates can have a
        successor started first and iterate on meanwhile, in a task of its own. Closing the generator stops the pump
        as `stop` does.

        Raises:
            CoinswarmError: it cannot work at all: a connection is not defined, or a venue is not known.
        """
        self._prepare(connections_of(self.shard))
        self._ledger.start()
        self._record("started", "")
        work = (self._writer.run(), self._tick(), *(part.run() for part in self._parts))
        tasks: list[asyncio.Future[None]] = [asyncio.ensure_future(one) for one in work]
        for task in tasks:
            task.add_done_callback(self._task_ended)
        self._running, self._started_at = True, time.monotonic()
        state: str = "killed"
        failure: BaseException | None = None
        try:
            yield PumpChange(PumpState.STARTED, self.owner)
            due = None if session_seconds is None else time.monotonic() + session_seconds
            async with aclosing(self._until_stopped(due)) as changes:
                async for change in changes:
                    yield change
            state, failure = self._state, self._broken
        finally:
            self._running = False
            await self._shut_down(tasks, state, str(failure or self._stopping or "closed"))
        if state == "handed_over":
            yield PumpChange(PumpState.HANDED_OVER, self._stopping, self.counters())
        yield PumpChange(PumpState.ENDED, str(failure or self._stopping), self.counters())
        if failure is not None and not isinstance(failure, LeaseLost):
            raise failure

    async def stop(self, reason: str) -> None:
        """Flush, release the lease, close the sockets. May be called more than once, and from another task.

        Whoever iterates over `run` has to go on doing so, or to close it: the work is done there.
        """
        self._end("ended", reason)
        if self._running:
            await self._stopped.wait()

    async def _until_stopped(self, due: float | None) -> AsyncGenerator[PumpChange, None]:
        told_due = False
        while True:
            getting = asyncio.ensure_future(self._changes.get())
            stopping = asyncio.ensure_future(self._stop.wait())
            timeout = None if due is None else max(due - time.monotonic(), 0)
            try:
                await asyncio.wait((getting, stopping), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopping.cancel()
                if not getting.done():
                    getting.cancel()
            if getting.done() and not getting.cancelled():
                yield getting.result()
            elif self._stop.is_set():
                return
            elif told_due:
                self._end("ended", "session over, and no successor came")
                return
            elif due is not None and time.monotonic() >= due:
                told_due = True
                due = time.monotonic() + self._settings.linger_seconds
                yield PumpChange(PumpState.DUE, "session over", self.counters())

    def _prepare(self, venues: tuple[Venue, ...]) -> None:
        settings = self._settings
        redis = self._resolve(settings.redis_connection)
        ledger = self._resolve(settings.ledger_connection) if settings.ledger_connection else None
        self._redis = redis
        self._ledger = Ledger(ledger, self.session_id)
        self._gaps = Gaps(self._tell_gap)
        self._writer = Writer(Lease(self.shard, self.owner, settings.lease_seconds), redis, settings, self)
        slug = venues[0].slug if venues else self.shard
        streams = [stream for venue in venues for stream in venue.streams]
        self._feeds = Feeds(slug, streams, settings, self._writer, self._gaps)
        self._trimming = Trimming(self._feeds, settings)
        self._rest: Rest | None = None
        self._parts: list[Part] = []
        if self.shard == CROSS_VENUE:
            from coinswarm.ticks.cross_venue import CrossVenue

            self._parts.append(CrossVenue(redis, settings, self._feeds, self))
            return
        connection = self._venue_connection(slug)
        self._rest = Rest(slug, connection)
        for venue in venues:
            self._parts.append(
                Session(venue, self._feeds, settings, connection, self._rest, self, self._counters, self._books)
            )

    def _venue_connection(self, slug: str) -> Connection:
        return self._resolve(source_named(slug).connection_id)

    # What the writer asks and tells

    def cursor_fields(self) -> dict[str, str]:
        """Last ids that changed."""
        return self._feeds.cursor_fields()

    def upkeep(self) -> Upkeep:
        """Hashes for state readers, counters, new keys, and trimming."""
        if not self.writing:
            return Upkeep()
        stats = {name: str(value) for name, value in self.counters().items()}
        stats["owner"], stats["at"] = self.owner, str(time.time_ns() // 1_000_000)
        inside = [
            *self._feeds.latest_commands(),
            command("HSET", f"ticks:stats:{self.shard}", *(part for pair in stats.items() for part in pair)),
        ]
        if settled := self._ledger.settled():
            inside.append(command("HDEL", gaps_key(self.shard), *settled))
        self._writer.counters.slowest_ms = 0.0
        self._lag_ms = 0.0
        return Upkeep(inside, (*self._feeds.key_commands(), *self._trimming.commands()))

    def upkeep_done(self, upkeep: Upkeep, replies: Replies | None) -> None:
        """Replies to new keys and to trimming."""
        if replies is None:
            self._feeds.repeat_latest()
            self._feeds.repeat_keys()
        else:
            keys = replies[: len(replies) - self._trimming.sent]
            # Full, for instance. That the archive has its group already is no failure.
            if any(isinstance(one, hiredis.ReplyError) and not str(one).startswith("BUSYGROUP") for one in keys):
                self._feeds.repeat_keys()
            self._trimming.done(replies)

    def granted(self, cursor: Cursor, token: int) -> None:
        """The lease is ours."""
        self._token = token
        self._begin = asyncio.ensure_future(self._activate(cursor))
        self._begin.add_done_callback(self._task_ended)

    async def _activate(self, cursor: Cursor) -> None:
        await seed_recent(self._feeds, self._redis, self._settings)
        for name, text in (await kept_gaps(self.shard, self._redis, self._settings)).items():
            self._ledger.repeat(GapNote(name, text))
        judged = {} if cursor.known else await self._judged()
        now_ms = time.time_ns() // 1_000_000
        handed_over = cursor.released and self._writer.overlaps and self._warm
        self._feeds.seed(cursor, now_ms, handed_over=handed_over, judged=judged)
        self.writing = True
        for part in self._parts:
            part.activate()
        self._record("live", "taken over" if handed_over else "")
        self._tell(PumpState.LIVE, "taken over" if handed_over else "")
        if self._problems:
            self._judge_problems()

    async def _judged(self) -> dict[tuple[str, str], int]:
        """Redis knows of nobody before us: either there was nobody, or it has lost all it had while no pump ran."""
        streams = [(feed.symbol, feed.channel.value) for feed in self._feeds]
        asking = asyncio.get_running_loop().run_in_executor(None, self._ledger.judged_to, self._feeds.venue, streams)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.connect_timeout_seconds):
                return await asking
        return {}

    def forgotten(self, cursor: Cursor) -> None:
        """Redis has lost what it had acknowledged."""
        _log.error("tick pump %s: Redis lost entries after flush %r", self.shard, cursor.flush)
        self._feeds.forgotten(cursor, self._writer.applied, time.time_ns() // 1_000_000)

    def rejected(self, errors: Mapping[str, str], count: int, from_ms: int) -> None:
        """Redis did not take single entries."""
        self._feeds.counters.rejects += count
        self._feeds.rejected(errors, from_ms, time.time_ns() // 1_000_000)
        key, error = next(iter(errors.items()))
        self._warn(f"Redis rejects entries of {key}: {error}")

    def wished(self, owner: str) -> None:
        """A successor is ready."""
        if self.writing:
            self._end("handed_over", f"handed over to {owner}")

    def pressure(self, high: bool) -> None:
        """The buffer is full, or has room again. That is how a flood flows; it is a problem if it lasts."""
        self._pressed_at = time.monotonic() if high else 0.0
        if not high:
            self._problem("buffer", "")
        for part in self._parts:
            part.pause(high)

    def trouble(self, reason: str) -> None:
        """Redis is away or refuses."""
        self._problem("redis", reason)

    # What the sessions tell

    def session_changed(self, name: str, problem: str) -> None:
        """A venue is away, or well again."""
        self._problem(name, problem)

    def keep_malformed(self, name: str, frame: bytes, error: str) -> None:
        """Keep a frame for inspection, in a stream of the last hundred."""
        self._warn(f"malformed frame of {name}: {error}")
        if not self.writing:
            return
        self._writer.pending.append(
            command(
                "XADD",
                MALFORMED_KEY,
                "MAXLEN",
                self._settings.malformed_kept,
                "*",
                "venue",
                name,
                "error",
                error[:300],
                "bytes",
                len(frame),
                "frame",
                frame[:_SHOWN_BYTES].decode("utf-8", "replace"),
                "recv",
                time.time_ns() // 1_000_000,
            )
        )
        if self._writer.idle:
            self._writer.kick()

    # Time

    async def _tick(self) -> None:
        loop_time = time.monotonic
        looked = told = loop_time()
        while True:
            before = loop_time()
            await asyncio.sleep(_TURN_SECONDS)
            now = loop_time()
            self._lag_ms = max(self._lag_ms, (now - before - _TURN_SECONDS) * 1000)
            now_ms = time.time_ns() // 1_000_000
            if self.writing:
                for part in self._parts:
                    part.turn(now_ms)
            if now - looked >= _LOOK_SECONDS:
                looked = now
                for part in self._parts:
                    part.tick(now_ms)
                self._writer.wants = self._warm
                if self._pressed_at and now - self._pressed_at > _PRESSED_SECONDS:
                    self._problem("buffer", "full: the sockets are not read")
            if now - told >= 1.0:
                told = now
                if self.writing:
                    for row in self._feeds.verdicts(now_ms):
                        self._ledger.verdict(row)
                self._writer.tick()

    @property
    def _warm(self) -> bool:
        return all(part.warm for part in self._parts)

    # States

    def counters(self) -> dict[str, Any]:
        """Everything that is counted, for `ticks:stats:<shard>` and the ledger."""
        writer, feeds, counts, books = self._writer.counters, self._feeds.counters, self._counters, self._books
        found: dict[str, Any] = {
            "session": str(self.session_id),
            "token": self._writer.token,
            "seconds": round(time.monotonic() - self._started_at, 1) if self._started_at else 0,
            **asdict(writer),
            "slowest_ms": round(writer.slowest_ms, 2),
            "loop_lag_ms": round(self._lag_ms, 2),
            "buffered_bytes": self._writer.buffered_bytes,
            "trade_duplicates": sum(feed.duplicates for feed in self._feeds.trades.values()),
            "trimmed": self._trimming.trimmed,
            "trimmed_unread": self._trimming.trimmed_unread,
            "gaps_opened": self._gaps.opened,
            "gaps_open": self._gaps.open,
            "ledger_written": self._ledger.written,
            "ledger_waiting": self._ledger.waiting,
            "ledger_dropped": self._ledger.dropped,
            "ledger_failures": self._ledger.failures,
        }
        for group in (feeds, books):
            found |= {name: getattr(group, name) for name in group.__slots__}
        found |= {name: getattr(counts, name) for name in counts.__slots__ if name != "unknown"}
        found["unknown"] = sum(counts.unknown.values())
        return found

    def _problem(self, name: str, problem: str) -> None:
        if problem:
            self._problems.setdefault(name, problem)
        else:
            self._problems.pop(name, None)
        if self.writing:
            self._judge_problems()

    def _judge_problems(self) -> None:
        if self._problems and not self._degraded:
            self._degraded = True
            name, problem = next(iter(self._problems.items()))
            self._tell(PumpState.DEGRADED, f"{name}: {problem}")
        elif not self._problems and self._degraded:
            self._degraded = False
            self._tell(PumpState.RECOVERED, "")

    def _tell(self, state: PumpState, reason: str) -> None:
        self._changes.put_nowait(PumpChange(state, reason, self.counters()))

    def _tell_gap(self, gap: Gap) -> None:
        _log.info("tick gap: %s", gap)
        note = self._ledger.gap(gap)
        if note is not None:
            # In the flush of what came behind the hole: whoever goes on from there knows of it, though we die before
            # PostgreSQL does.
            self._writer.pending.append(command("HSET", gaps_key(self.shard), note.name, note.text))
            if self._writer.idle:
                self._writer.kick()

    def _warn(self, text: str) -> None:
        # Once each: what repeats is in the counters.
        head = text[:60]
        if head not in self._warned and len(self._warned) < 1000:
            self._warned.add(head)
            _log.warning("tick pump %s: %s", self.shard, text)

    def _record(self, state: str, reason: str) -> None:
        self._ledger.session(
            SessionEvent(self.shard, self.owner, self._token, state, reason[:500], datetime.now(UTC), self.counters())
        )

    # The end

    def _end(self, state: str, reason: str) -> None:
        if not self._stop.is_set():
            self._state, self._stopping = state, reason
            self._stop.set()

    def _task_ended(self, task: asyncio.Future[None]) -> None:
        if not task.cancelled() and task.exception() is not None and not self._stop.is_set():
            error = task.exception()
            self._broken = error
            self._end("lease_lost" if isinstance(error, LeaseLost) else "failed", str(error))

    async def _shut_down(self, tasks: list[asyncio.Future[None]], state: str, reason: str) -> None:
        was_writing = self.writing
        writer_task, *others = tasks
        if self._begin is not None:
            others.append(self._begin)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        try:
            if was_writing and state != "lease_lost":
                self._gaps.end_all(time.time_ns() // 1_000_000)
                await self._write_the_rest()
            self.writing = False
            writer_task.cancel()
            await asyncio.gather(writer_task, return_exceptions=True)
            self._record(state, reason)
            await asyncio.get_running_loop().run_in_executor(None, self._ledger.close, _CLOSE_SECONDS)
            if self._rest is not None:
                self._rest.close()
        finally:
            self._stopped.set()

    async def _write_the_rest(self) -> None:
        open_minutes = verdicts.dump((feed.name, feed.minutes) for feed in self._feeds)
        if await self._writer.close({"minutes": open_minutes}, _CLOSE_SECONDS):
            return
        # Redis is away: what waits is lost with us, and that is said.
        now_ms = time.time_ns() // 1_000_000
        for feed in self._feeds:
            if not isinstance(feed, TradeFeed) or not feed.note():
                continue
            written, seen = self._writer.applied.get(f"{feed.venue} {feed.symbol}", ""), feed.note()
            if written == seen:
                continue
            self._gaps.lost(
                feed.venue,
                feed.symbol,
                Channel.TRADES.value,
                GapReason.REDIS,
                feed.traded_ms(self._writer.applied_ms or feed.heard_ms),
                now_ms,
                **feed.between(written, seen),
            )
