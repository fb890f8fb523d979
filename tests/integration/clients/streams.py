"""Redis with what a pump writes, by the agreed keys and fields, and a subscription that is read from a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis

from coinswarm.clients.messages import AnyMessage
from coinswarm.clients.subscription import Subscription
from coinswarm.connections import Connection
from coinswarm.local import redis as local
from coinswarm.local.ports import free_ports
from coinswarm.local.programs import running

TRADES = "trades:BTC-USDT"
BOOK = "orderbook:BTC-USDT:snapshot"
START_MS = 1_790_000_000_000


def client(connection: Connection) -> Any:
    return redis.Redis(
        host=connection.host,
        port=connection.port or 6379,
        username=connection.login,
        password=connection.password,
        decode_responses=True,
        retry=None,
    )


@dataclass
class Writer:
    """Writes entries as the pump does; ids of its own choice where `at` is given."""

    connection: Connection

    def __post_init__(self) -> None:
        self.redis = client(self.connection)

    def add(self, key: str, fields: dict[str, str], at: int | None = None) -> str:
        self.redis.sadd("ticks:streams", key)
        return str(self.redis.xadd(key, fields, id="*" if at is None else f"{START_MS + at}-*"))

    def trades(self, *numbers: int, at: int | None = None, key: str = TRADES, **fields: str) -> list[str]:
        """One trade each, `at` milliseconds after the start and one more for each further."""
        return [
            self.add(key, trade(number, **fields), None if at is None else at + place)
            for place, number in enumerate(numbers)
        ]


def trade(number: int, **fields: str) -> dict[str, str]:
    known = {"venue": "binance", "price": "60000.10", "size": "0.00100", "side": "buy"}
    return {**known, "ts": str(START_MS + number), "id": str(number), "recv": str(START_MS + number + 7), **fields}


def book(bid: str = "60000.0", ask: str = "60001.50", **fields: str) -> dict[str, str]:
    return {
        "venue": "binance",
        "bids": json.dumps([[bid, "1.0"], ["59999", "2.50"]]),
        "asks": json.dumps([[ask, "3"]]),
        "spread_bps": "0.249997",
        "imbalance": "-0.5",
        "ofi": "0",
        "trade_imbalance": "-0.001",
        "ts": str(START_MS),
        "recv": str(START_MS + 3),
        "seq": "77",
        **fields,
    }


async def take(subscription: Subscription, count: int) -> list[AnyMessage]:
    """The next messages; a test that waits for one that never comes fails instead of hanging."""
    async with asyncio.timeout(60):
        return [await anext(subscription) for _ in range(count)]


async def quiet(subscription: Subscription) -> bool:
    """Whether nothing is there: an answer of Redis to a reading that was sent now would have come."""
    try:
        async with asyncio.timeout(0.3):
            await anext(subscription)
    except TimeoutError:
        return True
    return False


@dataclass
class Server:
    """A Redis that a test kills and starts again, on the same port; what it has acknowledged is on disk."""

    folder: Path
    connection: Connection
    _stack: contextlib.ExitStack
    _process: Any = None

    def start(self) -> None:
        program = local.program(self.folder / "redis", self.connection.port or 0, self.folder / "redis.log")
        self._process = self._stack.enter_context(running(program))
        local.wait_ready(self.connection, log=self.folder / "redis.log")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def durable_server(folder: Path) -> Iterator[Server]:
    password = secrets.token_urlsafe(18)
    local.write_settings(folder / "redis", password, reader_password=password, durable=True)
    with (folder / "redis" / "redis.conf").open("a") as conf:
        conf.write("appendfsync always\n")
    (port,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        server = Server(folder, local.connection(port, password), stack)
        server.start()
        yield server
