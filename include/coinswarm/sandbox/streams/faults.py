"""What can go wrong with streams on purpose: rules that match messages, and what then reaches the client."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from threading import Lock
from time import monotonic
from typing import Any, Protocol

import numpy as np

from coinswarm.sandbox.randomness import key, uniform
from coinswarm.sandbox.streams.session import Message

KINDS = (
    "drop",
    "duplicate",
    "reorder",
    "freeze",
    "bad_checksum",
    "cut",
    "drip",
    "flood",
    "disconnect",
    "wrong_path",
)
_CHECKSUM = re.compile(rb'("checksum":)(-?\d+)')
_LONGEST_HOLD = 120.0
# What says the same if it is said again.
_REPEATABLE = ("top", "ticker", "funding", "open_interest", "volatility", "heartbeat")


@dataclass(frozen=True, slots=True)
class StreamFault:
    """One rule. `host`, `path`, `channel` and `symbol` are shell patterns (`symbol` is the venue's own name).

    It strikes `count` times (None: for ever) with `probability`, from `after` seconds from now on for `seconds` (None:
    until it is deleted). Channels: `trades orderbook top ticker funding open_interest liquidations volatility
    heartbeat`; answers to requests are never struck.

    Kinds: `drop` (the message vanishes, its number is used up), `duplicate` (sent twice), `reorder` (sent after the
    next one of its stream), `freeze` (all of them vanish as long as the rule stands), `bad_checksum`, `cut` (half of
    the frame, then the end of the connection), `drip` (the frame at `bytes_per_second`), `flood` (everything is held
    back for `hold` seconds and then sent at once, states `factor` times), `disconnect` (closed with `code`),
    `wrong_path` (the stream says nothing for the rest of the connection, whatever becomes of the rule).
    """

    kind: str
    host: str = "*"
    path: str = "*"
    channel: str = "*"
    symbol: str = "*"
    count: int | None = None
    probability: float = 1.0
    after: float = 0.0
    seconds: float | None = None
    hold: float = 2.0
    factor: int = 1
    bytes_per_second: int = 200
    code: int = 1001

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown stream fault {self.kind!r}; known: {', '.join(KINDS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability} is not within 0 and 1")
        if not 0 <= self.hold <= _LONGEST_HOLD:
            raise ValueError(f"hold {self.hold} is not within 0 and {_LONGEST_HOLD:g} seconds")
        if not 1 <= self.factor <= 1000:
            raise ValueError(f"factor {self.factor} is not within 1 and 1000")
        if self.bytes_per_second < 1 or self.after < 0:
            raise ValueError("bytes_per_second has to be positive, and after not negative")


@dataclass(slots=True)
class _Standing:
    rule: StreamFault
    begins: float
    ends: float


class StreamFaults:
    """The rules in force, in the order in which they were added."""

    def __init__(self, seed: int) -> None:
        """No rule yet; chances are drawn from the seed and the message's number."""
        self._seed = seed
        self._rules: list[_Standing] = []
        self._messages = 0
        self._lock = Lock()

    def add(self, rule: StreamFault) -> None:
        """Put a rule in force."""
        begins = monotonic() + rule.after
        ends = float("inf") if rule.seconds is None else begins + rule.seconds
        with self._lock:
            self._rules.append(_Standing(rule, begins, ends))

    def clear(self) -> None:
        """Drop all rules."""
        with self._lock:
            self._rules.clear()

    def listed(self) -> list[dict[str, Any]]:
        """Rules in force with what is left of their counts."""
        with self._lock:
            return [asdict(standing.rule) for standing in self._rules]

    def strike(self, host: str, path: str, message: Message) -> StreamFault | None:
        """The rule that spoils this message, if any; uses up one of its count."""
        if not self._rules or not message.channel:
            return None
        now = monotonic()
        with self._lock:
            self._messages += 1
            self._rules = [standing for standing in self._rules if standing.ends > now]
            for position, standing in enumerate(self._rules):
                rule = standing.rule
                if now < standing.begins or (rule.count is not None and rule.count <= 0):
                    continue
                if not (
                    fnmatchcase(message.channel, rule.channel)
                    and fnmatchcase(message.symbol, rule.symbol)
                    and fnmatchcase(host, rule.host)
                    and fnmatchcase(path, rule.path)
                ):
                    continue
                if rule.kind == "bad_checksum" and not _CHECKSUM.search(message.payload):
                    continue
                if rule.probability < 1:
                    draw = uniform(key(self._seed, "stream fault", position), np.array([self._messages]))
                    if float(draw[0]) >= rule.probability:
                        continue
                if rule.count is not None:
                    standing.rule = replace(rule, count=rule.count - 1)
                return rule
        return None


class Wire(Protocol):
    """What a connection can do with a frame."""

    def send(self, message: Message) -> None:
        """Send it as it is."""
        ...

    def send_half(self, message: Message) -> None:
        """Send half of the frame's bytes and end the connection."""
        ...

    def drip(self, message: Message, bytes_per_second: int) -> None:
        """Send the frame's bytes one after the other."""
        ...

    def close(self, code: int) -> None:
        """Close the connection in good order."""
        ...


class Delivery:
    """The way of one connection's messages to its wire, past the rules."""

    def __init__(self, faults: StreamFaults, host: str, path: str, wire: Wire) -> None:
        """Nothing is held back yet."""
        self._faults = faults
        self._host = host
        self._path = path
        self._wire = wire
        self._late: dict[tuple[str, str], Message] = {}
        self._silenced: set[tuple[str, str]] = set()
        self._held: list[Message] = []
        self._held_until = 0.0
        self._factor = 1
        self.struck: list[str] = []

    def deliver(self, message: Message) -> None:
        """Send it, or what a rule makes of it."""
        stream = (message.channel, message.symbol)
        if stream in self._silenced:
            return
        fault = self._faults.strike(self._host, self._path, message)
        if fault is None:
            self._pass(message)
        else:
            self.struck.append(fault.kind)
            self._spoil(message, fault)

    def release(self) -> None:
        """Send what a flood has held back for long enough."""
        if self._held and monotonic() >= self._held_until:
            held, self._held = self._held, []
            for message in held:
                for _ in range(self._factor if message.channel in _REPEATABLE else 1):
                    self._wire.send(message)

    def _pass(self, message: Message) -> None:
        for each in self._in_order(message):
            if self._held and each.channel:
                self._held.append(each)
            else:
                self._wire.send(each)

    def _in_order(self, message: Message) -> Iterator[Message]:
        yield message
        late = self._late.pop((message.channel, message.symbol), None)
        if late is not None:
            yield late

    def _spoil(self, message: Message, fault: StreamFault) -> None:
        kind = fault.kind
        if kind == "duplicate":
            self._pass(message)
            self._pass(message)
        elif kind == "reorder":
            waiting = self._late.pop((message.channel, message.symbol), None)
            self._late[message.channel, message.symbol] = message
            if waiting is not None:
                self._wire.send(waiting)
        elif kind == "bad_checksum":
            payload = _CHECKSUM.sub(lambda found: found[1] + str(int(found[2]) ^ 1).encode(), message.payload, count=1)
            self._pass(message._replace(payload=payload))
        elif kind == "flood":
            if not self._held:
                self._held_until, self._factor = monotonic() + fault.hold, fault.factor
            self._held.append(message)
        elif kind == "cut":
            self._wire.send_half(message)
        elif kind == "drip":
            self._wire.drip(message, fault.bytes_per_second)
        elif kind == "disconnect":
            self._wire.close(fault.code)
        elif kind == "wrong_path":
            self._silenced.add((message.channel, message.symbol))
