"""What a stand-in provider is: routes of (provider host, path) to pure functions of a call and the world behind it.

The first path segment of a request to the sandbox is the provider's host name; the rest is the provider's own path:
`http://127.0.0.1:21300/fapi.binance.com/fapi/v1/klines?symbol=BTCUSDT`. A provider module exports `ROUTES`, and
`coinswarm.sandbox.registry` lists the modules. Handlers must be deterministic: the same call at the same `world.now()`
gives the same bytes, whatever was asked before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from coinswarm.sandbox.market.model import Market


@dataclass(frozen=True, slots=True)
class Call:
    """One request as the provider sees it: `path` starts with `/`; of repeated query keys the last wins."""

    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    captured: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """A handler's way out with the provider's own error envelope."""

    def __init__(self, reply: Reply) -> None:
        """Carry the reply that the server sends."""
        super().__init__(reply.status)
        self.reply = reply


class NotRecorded(Exception):
    """The history that is replayed does not hold this: the server answers 404 and says so, and invents nothing."""


class Clock:
    """The sandbox's idea of now, in milliseconds since the epoch: the wall clock, or a moment that stands still."""

    def __init__(self, now: datetime | None = None) -> None:
        """Follow the wall clock, or stand at `now` (aware)."""
        self._lock = Lock()
        self.set_milliseconds(None if now is None else round(now.timestamp() * 1000))

    def set_milliseconds(self, now: int | None) -> None:
        """Stand at `now`, or follow the wall clock (again)."""
        with self._lock:
            self._fixed = now

    def __call__(self) -> int:
        """Milliseconds since the epoch."""
        with self._lock:
            return time.time_ns() // 1_000_000 if self._fixed is None else self._fixed


@dataclass(frozen=True, slots=True)
class World:
    """What is behind every endpoint: the mode (`simulate` or `replay`), the seed, the clock, and one market."""

    mode: str
    seed: int
    clock: Clock
    market: Market

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self.clock()


Handler = Callable[[Call, World], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` may hold `{name}` segments, which arrive in `Call.captured`; `{name*}` takes the rest with its slashes."""

    host: str
    path: str
    handler: Handler
    method: str = "GET"

    @property
    def pattern(self) -> re.Pattern[str]:
        """The path as a regular expression."""
        parts = re.split(r"\{(\w+\*?)\}", self.path)
        pieces = []
        for position, part in enumerate(parts):
            if position % 2 == 0:
                pieces.append(re.escape(part))
            elif part.endswith("*"):
                pieces.append(f"(?P<{part[:-1]}>.+)")
            else:
                pieces.append(f"(?P<{part}>[^/]+)")
        return re.compile("".join(pieces))


def json_reply(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON body, keys in the order given."""
    return Reply(msgspec.json.encode(value), status=status, headers=headers or {})


def text_reply(text: str, *, status: int = 200, content_type: str = "text/plain; charset=utf-8") -> Reply:
    """A text body."""
    return Reply(text.encode(), status=status, content_type=content_type)
