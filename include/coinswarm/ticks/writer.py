"""Entries to Redis in fenced flushes: each is one transaction that happens if, and only if, the lease is still ours.

A flush is `MULTI … EXEC` on a connection that watches the lease. What arrives meanwhile is the next one, so its size
follows the load. The transaction also numbers itself and notes the last ids in the cursor: after a broken connection it
is known whether it happened, so nothing is lost or written twice. While Redis is down, slow or full, entries wait, and
above a limit the sockets are not read any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import hiredis

from coinswarm.connections import Connection
from coinswarm.errors import CoinswarmError
from coinswarm.ticks.lease import Cursor, Lease, grant
from coinswarm.ticks.redis_link import RedisFailure, RedisLink, Replies
from coinswarm.ticks.resp import command, unwired, wire
from coinswarm.ticks.settings import TickSettings

_MULTI = wire([command("MULTI")])
_EXEC = wire([command("EXEC")])
_STANDBY_SECONDS = 1.0
_STUCK_SECONDS = 1.0
_HAND_OVER_SECONDS = 0.05


class LeaseLost(CoinswarmError):
    """Somebody else writes this shard now."""


@dataclass(frozen=True, slots=True)
class Upkeep:
    """Commands of the second: `inside` belong to the flush, `after` are sent behind it and may fail by themselves."""

    inside: Sequence[str] = ()
    after: Sequence[str] = ()


class WriterHost(Protocol):
    """What the writer asks and tells its pump."""

    def cursor_fields(self) -> dict[str, str]:
        """Last ids that changed since the last call, by `<venue> <symbol>`."""
        ...

    def upkeep(self) -> Upkeep:
        """What else is to be sent this second."""
        ...

    def upkeep_done(self, upkeep: Upkeep, replies: Replies | None) -> None:
        """Replies to `after`; None if the flush was refused and `inside` did not happen."""
        ...

    def granted(self, cursor: Cursor, token: int) -> None:
        """The lease is ours for the first time: entries may be appended."""
        ...

    def forgotten(self, cursor: Cursor) -> None:
        """Redis has lost flushes that it had acknowledged: this is what it still knows."""
        ...

    def rejected(self, errors: Mapping[str, str], count: int, from_ms: int) -> None:
        """Redis did not take `count` entries of an applied flush: an error of each key; none is older than that."""
        ...

    @property
    def writing(self) -> bool:
        """Whether entries come, which go on from the cursor of the owner before."""
        ...

    def wished(self, owner: str) -> None:
        """Somebody is ready to take over."""
        ...

    def pressure(self, high: bool) -> None:
        """Stop reading the sockets, or read them again."""
        ...

    def trouble(self, reason: str) -> None:
        """Redis is away or refuses (empty: it is well again)."""
        ...


@dataclass(slots=True)
class _Batch:
    payload: bytes
    count: int
    cursor: dict[str, str]


@dataclass(slots=True)
class WriterCounters:
    """What the writer did; `slowest_ms` is of the time since the last look."""

    entries: int = 0
    flushes: int = 0
    bytes: int = 0
    refused: int = 0
    rejected: int = 0
    reconnects: int = 0
    applied_unseen: int = 0
    slowest_ms: float = 0.0


@dataclass(slots=True)
class _Flight:
    """A flush whose replies are missing."""

    batch: _Batch | None
    upkeep: Upkeep | None
    name: str
    queued: int
    sent_at: float
    sent_ms: int
    releases: bool = False


class Writer:
    """Writer of one shard. `pending` takes commands (`append`), then `kick` if `idle`, or `seal` if it is long."""

    def __init__(self, lease: Lease, connection: Connection, settings: TickSettings, host: WriterHost) -> None:
        self.pending: list[str] = []
        """Always the same list."""
        self.idle = False
        self.wants = False
        """Set by the pump once it is ready to take over from another owner."""
        self.overlaps = False
        """Whether another owner still had the lease when we were ready: then nothing came between him and us."""
        self.token = 0
        self.counters = WriterCounters()
        self._lease = lease
        self._connection = connection
        self._settings = settings
        self._host = host
        self._link: RedisLink | None = None
        self._sealed: deque[_Batch] = deque()
        self._bytes = 0
        self._flight: _Flight | None = None
        self._acknowledged = ""
        self._number = 0
        self.applied: dict[str, str] = {}
        """The cursor as Redis has it: last ids that are written."""
        self.applied_ms = 0
        """When the newest flush that is written was sent, by our clock."""
        self._begun = False
        self._fresh = True
        self._due = False
        self._high = False
        self._flows = True
        self._refusals = 0
        self._pausing = False
        self._bare = False
        self._troubled = False
        self._interrupted = asyncio.Event()
        self._release: dict[str, str] | None = None
        self._released = asyncio.Event()

    @property
    def buffered_bytes(self) -> int:
        """What waits to be written, about."""
        return self._bytes + 256 * len(self.pending)

    @property
    def position(self) -> int:
        """All that was ever appended: it is written once `counters.entries` has come that far."""
        return self.counters.entries + sum(batch.count for batch in self._sealed) + len(self.pending)

    # What the hot path calls

    def kick(self) -> None:
        """Flush at the end of this turn of the loop."""
        self.idle = False
        asyncio.get_running_loop().call_soon(self._send)

    def seal(self) -> None:
        """Close the batch that is being filled, with the last ids as they are now."""
        batch = _Batch(wire(self.pending), len(self.pending), self._host.cursor_fields())
        self.pending.clear()
        self._sealed.append(batch)
        self._bytes += len(batch.payload)
        settings = self._settings
        if not self._high and self._bytes > (settings.buffer_flow_bytes if self._flows else settings.buffer_high_bytes):
            self._high = True
            self._host.pressure(True)

    # The way of a flush

    def tick(self) -> None:
        """Once a second: upkeep, renewal of the lease, and a look at how long Redis takes to answer."""
        self._due = True
        flight = self._flight
        if flight is not None and time.monotonic() - flight.sent_at > self._settings.redis_timeout_seconds:
            self._interrupt("Redis does not answer")
        elif flight is not None and time.monotonic() - flight.sent_at > _STUCK_SECONDS:
            self._stuck()
        elif self.idle:
            self.kick()

    def _send(self) -> None:
        link = self._link
        if link is None or self._flight is not None or self._pausing:
            return
        if not self._host.writing and self._release is None:
            # The cursor of the owner before us stays, in case that we die before it is read and what it says is told.
            self.idle = not self._due
            if self._due:
                self._due = False
                self._fly(link, None, None)
            return
        if self._bare:
            # What Redis takes even when it is full: the lease is renewed, and trimming may make room.
            self._bare = False
            all_of_it = self._host.upkeep()
            self._host.upkeep_done(all_of_it, None)  # what belongs into a flush waits for one
            self._fly(link, None, Upkeep(after=all_of_it.after))
            return
        if not self._sealed:
            if self.pending or self._due or self._release is not None:
                self.seal()
            else:
                self.idle = True
                return
        upkeep = None
        if self._due:
            self._due = False
            upkeep = self._host.upkeep()
        self._fly(link, self._sealed[0], upkeep)

    def _fly(self, link: RedisLink, batch: _Batch | None, upkeep: Upkeep | None) -> None:
        lease = self._lease
        name, now_ms = f"{self.token}:{self._number + 1}", time.time_ns() // 1_000_000
        releases = batch is not None and self._release is not None and len(self._sealed) == 1 and not self.pending
        inside = list(upkeep.inside) if upkeep is not None else []
        count = 0
        if batch is not None:
            count = batch.count
            fields = {"flush": name, "at": str(now_ms)} | batch.cursor
            if self._fresh:
                fields |= {"released": "0", "minutes": ""}
            if releases:
                fields |= {"released": "1"} | (self._release or {})
            inside.append(command("HSET", lease.cursor_key, *(part for pair in fields.items() for part in pair)))
        if releases:
            inside += lease.release()
        else:
            inside.append(lease.renew())
        after = upkeep.after if upkeep is not None else ()
        queued = count + len(inside)
        payload = b"".join(
            (_MULTI, batch.payload if batch is not None else b"", wire(inside), _EXEC, wire((*after, *lease.guard())))
        )
        self._flight = _Flight(batch, upkeep, name, queued, time.monotonic(), now_ms, releases)
        link.errors = 0
        link.send(payload, queued + 2 + len(after) + 3, self._landed)

    def _landed(self, replies: Replies) -> None:
        flight, link = self._flight, self._link
        if flight is None or link is None:
            return
        self._flight = None
        answer_ms = (time.monotonic() - flight.sent_at) * 1000
        if answer_ms > self.counters.slowest_ms:
            self.counters.slowest_ms = answer_ms
        result, guard = replies[flight.queued + 1], replies[-3:]
        done = isinstance(result, list)
        if flight.upkeep is not None:
            self._host.upkeep_done(flight.upkeep, replies[flight.queued + 2 : -3] if done else None)
        if done:
            if link.errors and flight.batch is not None:
                self._count_rejected(result[: flight.batch.count], flight)
            if flight.batch is not None:
                self._applied(flight)
            if flight.releases:
                return
        elif isinstance(result, hiredis.ReplyError):
            self._refused(next((one for one in replies[1:] if isinstance(one, hiredis.ReplyError)), result))
        if not self._lease.holds(guard, self.token):
            self._interrupt("")
            return
        wish = self._lease.wish(guard)
        if wish and wish != self._lease.owner:
            self._host.wished(wish)
        self._send()

    def _applied(self, flight: _Flight) -> None:
        batch = self._sealed.popleft()
        self._fresh = False
        self._number += 1
        self._acknowledged = flight.name
        self._bytes -= len(batch.payload)
        self.applied |= batch.cursor
        self.applied_ms = flight.sent_ms
        counters = self.counters
        counters.entries += batch.count
        counters.flushes += 1
        counters.bytes += len(batch.payload)
        self._refusals = 0
        self._flows = True
        self._well()
        if self._high and self._bytes < self._settings.buffer_low_bytes:
            self._high = False
            self._host.pressure(False)
        if flight.releases:
            self.token = 0
            self._released.set()

    def _refused(self, error: Exception) -> None:
        """Nothing of the flush was written: the batch stays first, and waits."""
        self._refusals += 1
        self.counters.refused += 1
        self._trouble(f"Redis refuses: {error}")
        self._pausing = True
        # Well within the lease, which is renewed at each attempt.
        delay = min(self._back_off(self._refusals), self._lease.seconds / 4)
        asyncio.get_running_loop().call_later(delay, self._try_again)

    def _try_again(self) -> None:
        self._pausing, self._bare = False, True
        self._send()

    def _count_rejected(self, results: list[Any], flight: _Flight) -> None:
        places = [place for place, one in enumerate(results) if isinstance(one, hiredis.ReplyError)]
        self.counters.rejected += len(places)
        if places and flight.batch is not None:
            commands = unwired(flight.batch.payload)
            errors = {commands[place][1]: str(results[place]) for place in places}
            self._host.rejected(errors, len(places), self.applied_ms or flight.sent_ms)

    # The connection's life

    async def run(self) -> None:
        """Connect, hold the lease and flush, until `close`.

        Raises:
            LeaseLost: somebody else took the lease; nothing is written any more.
        """
        failures = 0
        try:
            while not self._released.is_set():
                link = RedisLink(self._lost)
                try:
                    await link.open(
                        self._connection, f"coinswarm-ticks-{self._lease.shard}", self._settings.connect_timeout_seconds
                    )
                    await self._obtain(link)
                except RedisFailure as error:
                    link.close()
                    failures += 1
                    self._trouble(str(error))
                    await asyncio.sleep(self._back_off(failures))
                    continue
                except BaseException:
                    link.close()
                    raise
                if self._released.is_set():
                    # It was released before the connection broke, and has been taken again just now.
                    with contextlib.suppress(RedisFailure):
                        await link.ask(wire(self._lease.release()), 2)
                    link.close()
                    break
                failures = 0
                self._interrupted.clear()
                if link.lost.is_set():
                    continue
                self._start(link)
                released = asyncio.ensure_future(self._released.wait())
                interrupted = asyncio.ensure_future(self._interrupted.wait())
                try:
                    await asyncio.wait({released, interrupted}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    released.cancel()
                    interrupted.cancel()
                    self._link = None
                    link.close()
                if not self._released.is_set():
                    self.counters.reconnects += 1
                    self._stuck()
        finally:
            self.idle = False
            self.token = 0

    async def close(self, fields: dict[str, str], seconds: float) -> bool:
        """Write what waits and release the lease, with `fields` in the cursor; False if that took too long."""
        if not self._begun:
            return True
        self._release = fields
        self._due = True
        self.idle = False
        self._send()
        try:
            async with asyncio.timeout(seconds):
                await self._released.wait()
        except TimeoutError:
            return False
        return True

    async def _obtain(self, link: RedisLink) -> None:
        self.overlaps = False
        while True:
            (reply,) = await link.ask(wire([self._lease.acquire(self.token)]), 1)
            if isinstance(reply, hiredis.ReplyError):
                raise RedisFailure(f"no lease: {reply}")
            given = grant(reply)
            if given.token:
                break
            if self._begun:
                raise LeaseLost(f"{given.holder} writes {self._lease.shard} now")
            self._well()
            self.overlaps = self.wants
            if self.wants:
                await link.ask(wire([self._lease.ask()]), 1)
            await asyncio.sleep(_HAND_OVER_SECONDS if self.wants else _STANDBY_SECONDS)
        if not self._begun:
            self._begun = True
            self.token = given.token
            self._acknowledged = given.cursor.flush
            self.applied = dict(given.cursor.ids)
            self._host.granted(given.cursor, given.token)
        else:
            self._settle(given.cursor, given.token)
        guard = await link.ask(wire(self._lease.guard()), 3)
        if not self._lease.holds(guard, self.token):
            raise RedisFailure("the lease went while it was taken")

    def _settle(self, cursor: Cursor, token: int) -> None:
        """After an interruption: did the flush happen whose replies are missing, and is the rest still there?"""
        flight, self._flight = self._flight, None
        if flight is not None and flight.upkeep is not None:
            self._host.upkeep_done(flight.upkeep, None)
        mine = self.token
        self.token = token
        if flight is not None and flight.batch is not None and cursor.flush == flight.name:
            self.counters.applied_unseen += 1
            self._applied(flight)
        elif cursor.flush != self._acknowledged:
            if cursor.token > mine:
                self.token = 0
                raise LeaseLost(f"another owner wrote {self._lease.shard} meanwhile")
            self._fresh = True
            self._acknowledged = cursor.flush
            self._host.forgotten(cursor)

    def _start(self, link: RedisLink) -> None:
        self._link = link
        self._pausing = self._bare = False
        self._due = True
        if not self._refusals:
            self._well()
        self._send()

    def _lost(self, link: RedisLink) -> None:
        if link is self._link:
            self._link = None
            self._interrupted.set()

    def _interrupt(self, reason: str) -> None:
        if reason:
            self._trouble(reason)
        self._interrupted.set()
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def _back_off(self, failures: int) -> float:
        longest = self._settings.retry_longest_seconds
        return float(min(0.1 * 2 ** min(failures, 10), longest) * random.uniform(0.5, 1.0))

    def _stuck(self) -> None:
        """Nothing flows: what comes meanwhile is to be kept, up to the higher mark."""
        self._flows = False
        if self._high and self._bytes < self._settings.buffer_high_bytes:
            self._high = False
            self._host.pressure(False)

    def _trouble(self, reason: str) -> None:
        self._stuck()
        if not self._troubled:
            self._troubled = True
            self._host.trouble(reason)

    def _well(self) -> None:
        if self._troubled:
            self._troubled = False
            self._host.trouble("")
