"""When the archive has to come before its time: too many entries of the streams wait for it.

The backlog is looked at, not told: whoever looks after a while away misses nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from coinswarm.connections import Connection
from coinswarm.errors import UserError

VARIABLE = "archive_ticks"
"""Airflow Variable for operators, JSON: `wake_entries`, how many waiting entries wake the archive."""
WAKE_ENTRIES = 250_000
LOOK_SECONDS = 15.0
# If the archive has not come by then, its run has failed or has not begun: say it again.
REPEAT_SECONDS = 300.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a look asks of Redis and Airflow; tests bring their own."""

    waiting: Callable[[], Awaitable[int]]
    wake_entries: Callable[[], Awaitable[int]]
    look_seconds: float = LOOK_SECONDS
    repeat_seconds: float = REPEAT_SECONDS


async def wakes(around: Surroundings) -> AsyncIterator[int]:
    """The number of entries that wait, each time that they have become too many; for ever.

    What does not answer is asked again at the next look.
    """
    told_at: float | None = None
    complaint = ""
    while True:
        await asyncio.sleep(around.look_seconds)
        try:
            waiting, most = await around.waiting(), await around.wake_entries()
        except Exception as error:
            now_said = str(error) or type(error).__name__
            if now_said != complaint:
                _log.warning("the backlog of ticks is not known: %s", now_said)
            complaint = now_said
            continue
        complaint = ""
        now = time.monotonic()
        if waiting < most:
            told_at = None
        elif told_at is None or now - told_at >= around.repeat_seconds:
            told_at = now
            yield waiting


def wake_entries(found: Any) -> int:
    """The limit, from the Variable's value.

    Raises:
        UserError: it does not have the documented form.
    """
    if not isinstance(found, dict) or not set(found) <= {"wake_entries"}:
        raise UserError(f"Variable {VARIABLE!r} has to be an object with `wake_entries`")
    entries = found.get("wake_entries", WAKE_ENTRIES)
    if isinstance(entries, int) and not isinstance(entries, bool) and entries > 0:
        return entries
    raise UserError(f"`wake_entries` in Variable {VARIABLE!r} has to be a positive whole number")


def count_waiting(connection: Connection) -> int:
    """Trades and liquidations that the archive was not given yet. Books are no work: it takes one a minute.

    Raises:
        StoreUnavailable: Redis does not answer.
    """
    from coinswarm.ingest.streams import Streams
    from coinswarm.ticks.model import Channel

    with closing(Streams(connection)) as streams:
        return streams.waiting(streams.keys(Channel.TRADES, Channel.LIQUIDATIONS))


def in_airflow() -> Surroundings:
    """The real ones."""
    return Surroundings(_waiting, _wake_entries)


async def _waiting() -> int:
    from coinswarm.orchestration.connections import resolve_in_loop

    return await asyncio.to_thread(count_waiting, await resolve_in_loop("redis_ticks"))


async def _wake_entries() -> int:
    from airflow.sdk import Variable

    return wake_entries(await asyncio.to_thread(Variable.get, VARIABLE, {}, True))
