"""One shard's share of a run of `stream_ticks`, inside a triggerer's loop.

Airflow decides where a shard is pumped and how often that is tried; the lease in Redis decides who writes. A session
ends by the clock of its run, the same for all shards, so that the next run begins without waiting for one of them. Its
pump lingers in this process and writes on until the next run's pump asks for the lease: nothing is missed in between.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from coinswarm.connections import Connection, Resolver
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.ticks.settings import TickSettings

VARIABLE = "stream_ticks"
"""Airflow Variable for operators, JSON: `off`, a list of shards not to pump, and `session_seconds`. All optional."""
SESSION_SECONDS = 6 * 3600.0

_log = logging.getLogger(__name__)
_SHOWN = ("entries", "flushes", "reconnects", "malformed", "gaps_open", "buffered_bytes", "loop_lag_ms")


class Change(Protocol):
    """What a pump tells, see `coinswarm.ticks.pump.PumpChange`."""

    @property
    def state(self) -> str:
        """Its state from now on."""
        ...

    @property
    def reason(self) -> str:
        """Why."""
        ...

    @property
    def counters(self) -> Mapping[str, Any]:
        """What it counted."""
        ...


class RunningPump(Protocol):
    """The part of `coinswarm.ticks.pump.Pump` that is used here."""

    writing: bool

    def run(self, session_seconds: float | None = None) -> AsyncGenerator[Any, None]:
        """Pump, and tell changes of state."""
        ...

    async def stop(self, reason: str) -> None:
        """End in an orderly way."""
        ...

    def counters(self) -> dict[str, Any]:
        """What it counts."""
        ...


@dataclass(frozen=True, slots=True)
class Wishes:
    """What operators want of the feeds now."""

    off: frozenset[str] = frozenset()
    session_seconds: float | None = None

    @classmethod
    def from_json(cls, found: Any) -> Wishes:
        """From the Variable's value.

        Raises:
            UserError: it does not have the documented form.
        """
        if not isinstance(found, dict) or not set(found) <= {"off", "session_seconds"}:
            raise UserError(f"Variable {VARIABLE!r} has to be an object with `off` and `session_seconds`")
        off, seconds = found.get("off", []), found.get("session_seconds")
        if not isinstance(off, list) or not all(isinstance(one, str) for one in off):
            raise UserError(f"`off` in Variable {VARIABLE!r} has to be a list of shards")
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0):
            raise UserError(f"`session_seconds` in Variable {VARIABLE!r} has to be a positive number")
        return cls(frozenset(off), seconds)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run asks of Airflow and Redis; tests bring their own."""

    make_pump: Callable[[str, TickSettings, Resolver], RunningPump]
    connections: Callable[[str, TickSettings], Awaitable[Mapping[str, Connection]]]
    wishes: Callable[[], Awaitable[Wishes]]
    lease_held: Callable[[str, Connection], Awaitable[bool]]
    look_seconds: float = 15.0
    wish_seconds: float = 5.0
    standby_seconds: float = 2.0
    status_seconds: float = 300.0
    watch_seconds: float = 0.25


@dataclass(slots=True)
class ShardRun:
    """A shard from now until its session is over; `until_due` may be cancelled at any moment, which stops the pump."""

    shard: str
    settings: TickSettings
    around: Surroundings
    session_seconds: float = SESSION_SECONDS
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    _wishes: Wishes = field(default_factory=Wishes)
    _complaint: str = ""
    _last: Change | None = None
    _longest_lag: float = 0.0
    _told: float = 0.0

    async def until_due(self) -> dict[str, Any]:
        """Pump until the session is over; returns what was counted. The pump may still write when this returns.

        Raises:
            CoinswarmError: the pump cannot work at all.
        """
        watching = asyncio.create_task(self._watch_loop())
        try:
            await self._look()
            while self._left() > 0:
                if self.shard in self._wishes.off:
                    await self._stay_off()
                elif not await self._pump():
                    await self._stand_by()
        finally:
            watching.cancel()
        counters = dict(self._last.counters) if self._last else {}
        return counters | {"shard": self.shard, "longest_loop_lag_ms": round(self._longest_lag * 1000, 1)}

    async def _pump(self) -> bool:
        """Whether the pump ended, or lingers, as was wished here; false if somebody else took its place."""
        known = await self.around.connections(self.shard, self.settings)
        pump = self.around.make_pump(self.shard, self.settings, _resolver(known))
        following = asyncio.create_task(self._follow(pump))
        self._told = time.monotonic()
        try:
            while not following.done():
                left = self._left()
                if left <= 0:
                    self._last = _Counted(pump.counters())
                    _let_linger(self.shard, pump, following, self.settings.linger_seconds)
                    return True
                await asyncio.wait({following}, timeout=min(left, self.around.look_seconds))
                await self._look()
                if self.shard in self._wishes.off:
                    await pump.stop(f"switched off by Variable {VARIABLE}")
                    await following
                    return True
                self._tell_status(pump)
        except BaseException:
            await _end(following)
            raise
        following.result()
        return False

    async def _follow(self, pump: RunningPump) -> None:
        async with aclosing(pump.run()) as changes:
            async for change in changes:
                self._last = change
                _log.info("%s is %s: %s %s", self.shard, change.state, change.reason or "-", _short(change.counters))

    async def _stay_off(self) -> None:
        _log.info("%s is switched off by Variable %s", self.shard, VARIABLE)
        while self.shard in self._wishes.off and (left := self._left()) > 0:
            await asyncio.sleep(min(left, self.around.look_seconds))
            await self._look()

    async def _stand_by(self) -> None:
        # Airflow runs this trigger somewhere else by now and will cancel us, or somebody pumps by hand: in neither case
        # would it help to take the lease back.
        _log.info("%s is written by another owner: standing by", self.shard)
        known = await self.around.connections(self.shard, self.settings)
        redis = known[self.settings.redis_connection]
        while (left := self._left()) > 0 and self.shard not in self._wishes.off:
            await asyncio.sleep(min(left, self.around.standby_seconds))
            await self._look()
            with suppress(StoreUnavailable):
                if not await self.around.lease_held(self.shard, redis):
                    return

    async def _look(self) -> None:
        # An API that does not answer changes nothing, and holds nothing up: a triggerer's first request may take long.
        try:
            # Not `wait_for`: until Python 3.12 it swallows a cancellation that comes together with the answer.
            async with asyncio.timeout(self.around.wish_seconds):
                self._wishes = await self.around.wishes()
            self._complaint = ""
        except Exception as error:
            complaint = str(error) or type(error).__name__
            if complaint != self._complaint:
                self._complaint = complaint
                _log.warning("%s: wishes stay as they are: %s", self.shard, complaint)

    def _left(self) -> float:
        seconds = self._wishes.session_seconds or self.session_seconds
        return seconds - (datetime.now(UTC) - self.since).total_seconds()

    def _tell_status(self, pump: RunningPump) -> None:
        now = time.monotonic()
        if now - self._told >= self.around.status_seconds:
            self._told = now
            _log.info("%s: %s longest lag %.0f ms", self.shard, _short(pump.counters()), self._longest_lag * 1000)

    async def _watch_loop(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(self.around.watch_seconds)
            self._longest_lag = max(self._longest_lag, time.monotonic() - before - self.around.watch_seconds)


@dataclass(frozen=True, slots=True)
class _Counted:
    counters: Mapping[str, Any]
    state: str = "due"
    reason: str = "session over"


# By shard, what waits for the end of each pump that still writes after its session, and what follows that pump.
_leaving: dict[str, dict[asyncio.Task[None], asyncio.Task[None]]] = {}


def leaving(shard: str) -> int:
    """How many pumps of a shard linger in this process."""
    return len(_leaving.get(shard, ()))


async def stop_leaving(shard: str) -> None:
    """Stop a shard's lingering pumps in this process; does nothing if there are none."""
    for waiting, following in list(_leaving.get(shard, {}).items()):
        await _end(waiting)
        await _end(following)


def _let_linger(shard: str, pump: RunningPump, following: asyncio.Task[None], seconds: float) -> None:
    waiting = asyncio.create_task(_linger(shard, pump, following, seconds))
    _leaving.setdefault(shard, {})[waiting] = following
    waiting.add_done_callback(_leaving[shard].pop)


async def _linger(shard: str, pump: RunningPump, following: asyncio.Task[None], seconds: float) -> None:
    try:
        # Who does not write has nothing to hand over.
        if pump.writing:
            await asyncio.wait({following}, timeout=seconds)
        await pump.stop("session over, and no successor came")
        await following
    except Exception:
        _log.exception("%s: the pump of the last session failed while it waited for its successor", shard)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel, and wait for sockets and lease to be let go; a failure of the task is nobody's any more."""
    # At the end of the loop everything is cancelled at once, and a second time would break into an orderly end.
    if not task.cancelling():
        task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _resolver(known: Mapping[str, Connection]) -> Resolver:
    def resolve(conn_id: str) -> Connection:
        if conn_id not in known:
            raise UserError(f"connection {conn_id!r} was not fetched before the pump started")
        return known[conn_id]

    return resolve


def _short(counters: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={counters[name]}" for name in _SHOWN if name in counters)


# In Airflow


def in_airflow() -> Surroundings:
    """The real ones."""
    return Surroundings(_make_pump, _connections, _wishes, _lease_held)


def _make_pump(shard: str, settings: TickSettings, resolve: Resolver) -> RunningPump:
    from coinswarm.ticks.pump import Pump

    return Pump(shard, settings, resolve)


async def _connections(shard: str, settings: TickSettings) -> dict[str, Connection]:
    # Airflow's synchronous accessors would stop the loop that all pumps share, and so would imports.
    from coinswarm.orchestration.connections import resolve_in_loop

    names = await asyncio.to_thread(_connection_ids, shard, settings)
    return {name: await resolve_in_loop(name) for name in names}


def _connection_ids(shard: str, settings: TickSettings) -> list[str]:
    import coinswarm.ticks.pump  # noqa: F401  (its first import takes a while)
    from coinswarm.sources import source_named
    from coinswarm.ticks.shards import connections_of

    venues = {source_named(venue.slug).connection_id for venue in connections_of(shard)}
    return [name for name in (settings.redis_connection, settings.ledger_connection, *sorted(venues)) if name]


async def _wishes() -> Wishes:
    from airflow.sdk import Variable

    found = await asyncio.to_thread(Variable.get, VARIABLE, None, True)
    return Wishes() if found is None else Wishes.from_json(found)


async def _lease_held(shard: str, redis: Connection) -> bool:
    from coinswarm.ticks.lease import Lease
    from coinswarm.ticks.redis_link import RedisLink
    from coinswarm.ticks.resp import command, wire

    link = RedisLink()
    await link.open(redis, f"standby {shard}", 5.0)
    try:
        (held,) = await link.ask(wire([command("EXISTS", Lease(shard, "", 1).key)]), 1)
    finally:
        link.close()
    return bool(held)
