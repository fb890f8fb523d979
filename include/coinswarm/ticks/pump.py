"""The pump of one shard: venues' sockets to Redis Streams, with every hole known."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from coinswarm.connections import Resolver
from coinswarm.connections import resolve as resolve_connection
from coinswarm.ticks.settings import TickSettings


class PumpState(StrEnum):
    """What a pump tells about itself; ticks are never told."""

    STARTED = "started"  # connecting, or waiting for the lease
    LIVE = "live"  # it writes
    DEGRADED = "degraded"  # Redis or a venue is away, or a stream is silent
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


class Pump:
    """One shard's pump, for one run."""

    def __init__(
        self, shard: str, settings: TickSettings | None = None, resolve: Resolver = resolve_connection
    ) -> None:
        """Nothing is connected before `run`.

        Raises:
            UserError: there is no such shard.
        """
        self.shard = shard
        self._settings = settings or TickSettings()
        self._resolve = resolve

    async def run(self, session_seconds: float | None = None) -> AsyncGenerator[PumpChange, None]:
        """Pump until stopped, handed over, or due.

        After `session_seconds` it yields `due` and goes on for `linger_seconds`, so that whoever iterates can have a
        successor started first and iterate on meanwhile, in a task of its own. Closing the generator stops the pump
        as `stop` does.
        """
        raise NotImplementedError
        yield PumpChange(PumpState.ENDED, "")

    async def stop(self, reason: str) -> None:
        """Flush, release the lease, close the sockets. May be called more than once, and from another task."""
        raise NotImplementedError
