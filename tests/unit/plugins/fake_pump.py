"""A pump without sockets: it tells what it is told to tell, and remembers how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from typing import Any

from coinswarm.connections import Connection, Resolver
from coinswarm.orchestration.tick_runs import Surroundings, Wishes
from coinswarm.ticks.settings import TickSettings


@dataclass(frozen=True)
class Told:
    state: str
    reason: str = ""
    counters: Mapping[str, Any] = field(default_factory=dict)


class FakePump:
    """Writes from its start on, until stopped, cancelled, handed over, or broken."""

    def __init__(self, error: Exception | None = None, writing: bool = True) -> None:
        self.writing = writing
        self.ended = ""
        self.gone = asyncio.Event()
        self.started = asyncio.Event()
        self.closing = asyncio.Event()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self._error = error
        self._end = asyncio.Event()
        self._reason = ""

    async def run(self, session_seconds: float | None = None) -> AsyncGenerator[Told, None]:
        self.started.set()
        if self._error is not None:
            raise self._error
        try:
            yield Told("started")
            yield Told("live", counters={"entries": 1})
            await self._end.wait()
        except BaseException as error:
            self._reason = self._reason or type(error).__name__
            raise
        finally:
            # As the real one: a flush and a release of the lease take a moment.
            self.closing.set()
            await self.may_close.wait()
            self.writing = False
            self.ended = self._reason
            self.gone.set()
        yield Told("ended", self._reason, self.counters())

    async def stop(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._end.set()
        await self.gone.wait()

    def hand_over(self) -> None:
        self._reason = "handed over"
        self._end.set()

    def counters(self) -> dict[str, Any]:
        return {"entries": 7, "loop_lag_ms": 0.5}


class World:
    """Surroundings whose every answer a test chooses, with waits of milliseconds."""

    def __init__(self, *pumps: FakePump) -> None:
        self.pumps = list(pumps)
        self.made: list[FakePump] = []
        self.resolved: list[str] = []
        self.wishes: Wishes | Exception = Wishes()
        self.held = False
        self.silent = False

    def around(self) -> Surroundings:
        return Surroundings(
            make_pump=self._make,
            connections=self._connections,
            wishes=self._wishes,
            lease_held=self._held,
            look_seconds=0.002,
            wish_seconds=0.05,
            standby_seconds=0.002,
            watch_seconds=0.001,
        )

    def _make(self, shard: str, settings: TickSettings, resolve: Resolver) -> FakePump:
        self.resolved.append(resolve(settings.redis_connection).conn_id)
        self.made.append(self.pumps.pop(0) if self.pumps else FakePump())
        return self.made[-1]

    async def _connections(self, shard: str, settings: TickSettings) -> Mapping[str, Connection]:
        return {settings.redis_connection: Connection(settings.redis_connection)}

    async def _wishes(self) -> Wishes:
        if self.silent:
            await asyncio.Event().wait()
        if isinstance(self.wishes, Exception):
            raise self.wishes
        return self.wishes

    async def _held(self, shard: str, redis: Connection) -> bool:
        return self.held
