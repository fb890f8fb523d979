"""Entries as the pump writes them, the store with Redis behind one resolver, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis

from coinswarm.connections import Connection, Resolver
from coinswarm.ingest.streams import GROUP
from coinswarm.timeframes import floor

MINUTE = timedelta(minutes=1)


def recent_minute(back: int = 5) -> datetime:
    """The start of a minute that is over."""
    return floor(datetime.now(UTC), MINUTE) - back * MINUTE


def milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


@dataclass(frozen=True)
class Ticks:
    """Redis of a test module, and connections of everything."""

    connection: Connection
    resolve: Resolver

    @property
    def redis(self) -> Any:
        return redis.Redis(
            host=self.connection.host,
            port=self.connection.port or 6379,
            username=self.connection.login,
            password=self.connection.password,
            decode_responses=True,
        )

    def write(self, key: str, *entries: dict[str, Any], at: datetime | None = None) -> list[str]:
        """XADD as the pump does; with `at` the ids say that Redis took them then."""
        client = self.redis
        client.sadd("ticks:streams", key)
        name = f"{milliseconds(at)}-*" if at else "*"
        return [client.xadd(key, fields, id=name) for fields in entries]

    def pending(self, key: str) -> int:
        """Entries that were given to the archive and not acknowledged."""
        return int(self.redis.xpending(key, GROUP)["pending"])

    def passed(self, key: str) -> str:
        """The newest id that the archive was given or has passed over."""
        return str(next(group for group in self.redis.xinfo_groups(key) if group["name"] == GROUP)["last-delivered-id"])

    def unread(self, key: str) -> int:
        """Entries that the archive was not given yet."""
        return int(next(group for group in self.redis.xinfo_groups(key) if group["name"] == GROUP)["lag"])


def trade(number: int | str, at: datetime, **fields: Any) -> dict[str, Any]:
    """Fields of a trade in the pump's order."""
    known = {
        "venue": "binance",
        "price": "60000.10",
        "size": "0.00100",
        "side": "buy",
        "ts": milliseconds(at),
        "id": number,
        **fields,
    }
    received = known.pop("recv", milliseconds(at) + 7)
    return {**known, "recv": received}


def trades(
    numbers: Iterable[int], start: datetime, step: timedelta = timedelta(milliseconds=10), **fields: Any
) -> list[dict[str, Any]]:
    """Trades with these ids, one every `step`."""
    return [trade(number, start + place * step, **fields) for place, number in enumerate(numbers)]
