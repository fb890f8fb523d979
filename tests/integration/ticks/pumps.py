"""Pumps under test: what they said, what they wrote, and waiting for either."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import redis

from coinswarm.connections import Connection, Resolver
from coinswarm.errors import UserError
from coinswarm.ticks.pump import Pump, PumpChange, PumpState
from coinswarm.ticks.settings import TickSettings

SHARD = "binance_spot"
KEY = "trades:BTC-USDT"
QUICK = TickSettings(
    ledger_connection="",
    archive_group="",
    liveness=False,
    lease_seconds=2.0,
    warm_up_seconds=1.0,
    retry_first_seconds=0.05,
    reconnect_longest_seconds=0.2,
    retry_longest_seconds=0.3,
    redis_timeout_seconds=3.0,
)


@dataclass
class Followed:
    """A pump that runs, and all it said."""

    pump: Pump
    changes: list[PumpChange] = field(default_factory=list)

    @property
    def states(self) -> list[PumpState]:
        return [change.state for change in self.changes]

    async def reach(self, state: PumpState, times: int = 1) -> None:
        await until(lambda: self.states.count(state) >= times, f"{state} in {self.states}")

    def count(self, name: str) -> Any:
        return self.pump.counters()[name]


def resolver(exchange_url: str, redis_ticks: Connection, *others: Connection) -> Resolver:
    known = {
        "redis_ticks": redis_ticks,
        "http_binance": Connection("http_binance", host=exchange_url, extra={"requests_per_second": 100}),
        **{one.conn_id: one for one in others},
    }

    def resolve(conn_id: str) -> Connection:
        if conn_id not in known:
            raise UserError(f"connection {conn_id!r} is not defined")
        return known[conn_id]

    return resolve


@asynccontextmanager
async def pumping(
    resolve: Resolver, settings: TickSettings = QUICK, *, session_seconds: float | None = None, live: bool = True
) -> AsyncIterator[Followed]:
    """A pump of `SHARD` that runs until the block ends."""
    followed = Followed(Pump(SHARD, settings, resolve))

    async def follow() -> None:
        async for change in followed.pump.run(session_seconds):
            followed.changes.append(change)

    task = asyncio.create_task(follow())
    try:
        if live:
            await followed.reach(PumpState.LIVE)
        yield followed
    finally:
        await followed.pump.stop("the test is over")
        await task


async def until(condition: Callable[[], Any], what: str = "", seconds: float = 60) -> None:
    """Wait for something that happens in another task, thread or process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what or condition}"
        await asyncio.sleep(0.01)


def client(connection: Connection) -> redis.Redis:
    return redis.Redis(
        host=connection.host,
        port=connection.port or 6379,
        username=connection.login or None,
        password=connection.password or None,
        db=int(connection.schema or 0),
        decode_responses=True,
    )


def written(connection: Connection, key: str = KEY) -> list[int]:
    """Ids of the trades in Redis, in their order."""
    with client(connection) as redis_client:
        return [int(fields["id"]) for _, fields in redis_client.xrange(key)]


def length(connection: Connection, key: str = KEY) -> int:
    with client(connection) as redis_client:
        return int(redis_client.xlen(key))
