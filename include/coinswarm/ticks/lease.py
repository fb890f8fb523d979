"""Who writes a shard: one owner at a time, by a key that expires and a fencing token that only grows.

`ticks:lease:<shard>` holds owner and token and expires; `ticks:cursor:<shard>` says what was written: the last id per
symbol, the number of the last flush, and when. Every flush is a transaction that Redis refuses once the lease is not
what it was, so a process that slept through the end of its lease writes nothing (decision 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from coinswarm.ticks.resp import command

# allow-oom: who writes must be settled even while Redis refuses entries.
_ACQUIRE = """#!lua flags=allow-oom
local lease, cursor = KEYS[1], KEYS[2]
local holder = redis.call('HGET', lease, 'owner')
if holder and holder ~= ARGV[1] then
  return {0, holder, redis.call('PTTL', lease)}
end
local token = tonumber(redis.call('HGET', lease, 'token') or 0)
if not holder then
  token = math.max(tonumber(redis.call('HGET', cursor, 'token') or 0), tonumber(ARGV[3])) + 1
  redis.call('HSET', cursor, 'token', token)
  redis.call('HSET', lease, 'owner', ARGV[1], 'token', token)
end
redis.call('PEXPIRE', lease, ARGV[2])
return {1, token, redis.call('HGETALL', cursor)}
"""
_RESERVED = frozenset({"token", "flush", "at", "released", "minutes"})


@dataclass(frozen=True, slots=True)
class Cursor:
    """What the writer before left: `ids` by `<venue> <symbol>`, the newest flush and when it was, by our clock.

    `released` is true after an orderly end; `minutes` is what that writer knew of the running minute.
    """

    ids: Mapping[str, str]
    flush: str
    at_ms: int
    released: bool
    minutes: str

    @property
    def known(self) -> bool:
        """False if nobody has written this shard yet, or Redis has forgotten."""
        return bool(self.flush)

    @property
    def token(self) -> int:
        """Fencing token of the owner that wrote last, 0 if nobody has."""
        token = self.flush.partition(":")[0]
        return int(token) if token.isdecimal() else 0


@dataclass(frozen=True, slots=True)
class Grant:
    """Answer to the request for the lease: `token` is 0 if `holder` has it for `milliseconds` more."""

    token: int
    cursor: Cursor
    holder: str = ""
    milliseconds: int = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """The keys of a shard's lease, and commands on them, for one owner."""

    shard: str
    owner: str
    seconds: float

    @property
    def key(self) -> str:
        """The lease itself."""
        return f"ticks:lease:{self.shard}"

    @property
    def cursor_key(self) -> str:
        """What was written."""
        return f"ticks:cursor:{self.shard}"

    @property
    def wish_key(self) -> str:
        """Who wants to take over; a key of its own, since any change of the lease stops its owner's flush."""
        return f"ticks:wish:{self.shard}"

    @property
    def milliseconds(self) -> int:
        """How long the lease lasts after its last renewal."""
        return int(self.seconds * 1000)

    def acquire(self, floor: int) -> str:
        """Take the lease if it is free or ours already; a new token is larger than `floor`. One reply."""
        return command("EVAL", _ACQUIRE, 2, self.key, self.cursor_key, self.owner, self.milliseconds, floor)

    def renew(self) -> str:
        """Inside of the transaction: hold it from now on. One reply."""
        return command("PEXPIRE", self.key, self.milliseconds)

    def release(self) -> tuple[str, ...]:
        """Inside of the transaction: give it up. Two replies."""
        return command("DEL", self.key), command("DEL", self.wish_key)

    def guard(self) -> tuple[str, ...]:
        """Before a transaction: refuse it if the lease changes from here on. Three replies, for `holds` and `wish`."""
        return (
            command("WATCH", self.key),
            command("HMGET", self.key, "owner", "token"),
            command("GET", self.wish_key),
        )

    def ask(self) -> str:
        """Tell the owner that we are ready to take over. One reply."""
        return command("SET", self.wish_key, self.owner, "PX", 3000)

    def holds(self, guard: list[Any], token: int) -> bool:
        """Whether the lease is ours, by the replies to `guard`."""
        return bool(guard[1] == [self.owner.encode(), str(token).encode()])

    def wish(self, guard: list[Any]) -> str:
        """Who wants to take over, by the replies to `guard`; empty for nobody."""
        asked = guard[2]
        return asked.decode("utf-8", "replace") if isinstance(asked, bytes) else ""


def grant(reply: list[Any]) -> Grant:
    """What the reply to `acquire` says."""
    if reply[0] == 0:
        return Grant(0, read_cursor([]), reply[1].decode("utf-8", "replace"), max(int(reply[2]), 0))
    return Grant(int(reply[1]), read_cursor(reply[2]))


def read_cursor(reply: list[bytes]) -> Cursor:
    """The cursor, from the reply to HGETALL."""
    fields = {
        name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
        for name, value in zip(reply[::2], reply[1::2], strict=True)
    }
    return Cursor(
        ids={name: value for name, value in fields.items() if name not in _RESERVED},
        flush=fields.get("flush", ""),
        at_ms=int(fields.get("at", 0)),
        released=fields.get("released") == "1",
        minutes=fields.get("minutes", ""),
    )
