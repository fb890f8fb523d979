"""The Redis streams as the archive reads them: one consumer group, what it has not yet acknowledged, what it missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable
from coinswarm.ticks.model import Channel

GROUP = "archive"
# All workers bear one name: whose turn it is decides a lock in PostgreSQL, and Redis then has nothing to hand over.
CONSUMER = "archive"
LISTED = "ticks:streams"
_IDS_PER_ACK = 5_000
_END = "end"
_RAW = ("XREADGROUP", "XAUTOCLAIM", "XREVRANGE", "XRANGE", "XINFO STREAM", "XINFO GROUPS")


class Entry(NamedTuple):
    """One entry of a stream: its id and its fields as they came, names and values by turns."""

    id: str
    fields: list[str]


@dataclass(frozen=True, slots=True)
class Missed:
    """Entries that Redis trimmed before they were archived: how many, and the ids on either side ('0-0': none yet)."""

    key: str
    entries: int
    after: str
    before: str


@dataclass(frozen=True, slots=True)
class Taken:
    """What one reading of the streams brought, in the order of each stream."""

    entries: dict[str, list[Entry]]
    missed: tuple[Missed, ...] = ()

    @property
    def count(self) -> int:
        """Number of entries."""
        return sum(map(len, self.entries.values()))


class Streams:
    """Consumer group `archive` on the streams of Redis."""

    def __init__(self, connection: Connection) -> None:
        self._redis: Any = redis.Redis(
            **connection.redis_arguments,
            protocol=2,
            decode_responses=True,
            encoding_errors="replace",
            socket_connect_timeout=5,
            socket_timeout=60,
            client_name="coinswarm-archive",
            retry=Retry(NoBackoff(), 0),  # a reading that is sent twice takes twice
        )
        # The callbacks build a tuple and a dictionary of every entry; the replies as they are cost half of that.
        for name in _RAW:
            self._redis.response_callbacks.pop(name, None)
        self._grouped: set[str] = set()
        self._claimed: dict[str, str] = {}

    def close(self) -> None:
        """Drop the connection."""
        self._redis.close()

    def keys(self, *channels: Channel) -> list[str]:
        """Streams of these channels that were ever written, in order of their names.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        with _redis_errors():
            listed = self._redis.smembers(LISTED)
        prefixes = tuple(f"{channel.value}:" for channel in channels)
        return sorted(key for key in listed if key.startswith(prefixes))

    def read(self, keys: Sequence[str], count: int) -> Taken:
        """At most `count` entries of each stream that nobody was given yet; they are ours until acknowledged.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        if not keys:
            return Taken({})
        with _redis_errors():
            self._ensure_groups(keys)
            try:
                *looked, taken = self._read(keys, count)
            except redis.ResponseError:
                # Redis has lost its data, our group included.
                self._grouped.clear()
                self._ensure_groups(keys)
                *looked, taken = self._read(keys, count)
        entries = {key: [Entry(*one) for one in listed] for key, listed in taken or ()}
        return Taken(entries, tuple(_missed(keys, looked, {key: rows[0].id for key, rows in entries.items()})))

    def _read(self, keys: Sequence[str], count: int) -> list[Any]:
        # In one transaction, so that nothing is trimmed between the look and the reading.
        pipe = self._redis.pipeline(transaction=True)
        _look(pipe, keys)
        given = ("GROUP", GROUP, CONSUMER, "COUNT", count, "STREAMS", *keys, *(">" for _ in keys))
        pipe.execute_command("XREADGROUP", *given)
        replies: list[Any] = pipe.execute()
        return replies

    def waiting(self, keys: Sequence[str]) -> int:
        """How many entries nobody was given yet. Looks only.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        with _redis_errors():
            pipe = self._redis.pipeline(transaction=False)
            _look(pipe, keys)
            looked = pipe.execute(raise_on_error=False)
        total = 0
        for stream, groups in zip(looked[::2], looked[1::2], strict=True):
            if isinstance(stream, redis.ResponseError):
                continue  # listed, and without an entry yet
            length, added = int(_pairs(stream)["length"]), int(_pairs(stream)["entries-added"])
            ours = [group for group in map(_pairs, groups) if group["name"] == GROUP]
            read = ours[0]["entries-read"] if ours else 0
            total += length if read is None else min(length, added - int(read))
        return total

    def left_behind(self, keys: Iterable[str], count: int) -> Taken:
        """Entries that a worker was given and did not acknowledge before it died; `count` at most of each stream.

        Every call goes on where the last one ended; nothing comes once all of them were given.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        entries: dict[str, list[Entry]] = {}
        missed: list[Missed] = []
        with _redis_errors():
            for key in keys:
                start = self._claimed.get(key, "0-0")
                if start == _END:
                    continue
                self._ensure_groups((key,))
                following, claimed, gone = self._redis.execute_command(
                    "XAUTOCLAIM", key, GROUP, CONSUMER, 0, start, "COUNT", count
                )
                self._claimed[key] = _END if following == "0-0" else following
                if claimed:
                    entries[key] = [Entry(*one) for one in claimed]
                if gone:
                    missed.append(Missed(key, len(gone), gone[0], gone[-1]))
                elif not claimed and self._claimed[key] != _END:
                    entries[key] = []  # nothing here, but the list goes on
        return Taken(entries, tuple(missed))

    def acknowledge(self, key: str, ids: Sequence[str]) -> None:
        """Tell Redis that these entries are archived; saying it twice does no harm.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        with _redis_errors():
            for start in range(0, len(ids), _IDS_PER_ACK):
                self._redis.execute_command("XACK", key, GROUP, *ids[start : start + _IDS_PER_ACK])

    def following(self, key: str, after: str, count: int) -> list[Entry]:
        """The entries after an id, without taking them.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        with _redis_errors():
            found = self._redis.execute_command("XRANGE", key, f"({after}", "+", "COUNT", count)
        return [Entry(*one) for one in found]

    def position(self, key: str) -> str:
        """Id of the newest entry that the group was given or has passed over, `0-0` if none.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        with _redis_errors():
            self._ensure_groups((key,))
            for group in map(_pairs, self._redis.execute_command("XINFO GROUPS", key)):
                if group["name"] == GROUP:
                    return str(group["last-delivered-id"])
        return "0-0"

    def pass_over(self, key: str, until: str) -> None:
        """Move on to `until`: what lies before is not asked for any more, and may be trimmed.

        Raises:
            StoreUnavailable: Redis does not answer.
        """
        with _redis_errors():
            self._redis.execute_command("XGROUP", "SETID", key, GROUP, until)

    def _ensure_groups(self, keys: Iterable[str]) -> None:
        for key in keys:
            if key in self._grouped:
                continue
            try:
                # From the very first entry: what was trimmed before there was an archive is missing as well.
                self._redis.execute_command("XGROUP", "CREATE", key, GROUP, "0", "MKSTREAM", "ENTRIESREAD", "0")
            except redis.ResponseError as error:
                if "BUSYGROUP" not in str(error):
                    raise
            self._grouped.add(key)


def milliseconds_of(entry_id: str) -> int:
    """When Redis took an entry, by its id."""
    return int(entry_id.partition("-")[0])


def _look(pipe: Any, keys: Sequence[str]) -> None:
    for key in keys:
        pipe.execute_command("XINFO STREAM", key)
        pipe.execute_command("XINFO GROUPS", key)


def _missed(keys: Sequence[str], looked: Sequence[Any], first: dict[str, str]) -> Iterator[Missed]:
    for number, key in enumerate(keys):
        stream = _pairs(looked[2 * number])
        group = next(one for one in map(_pairs, looked[2 * number + 1]) if one["name"] == GROUP)
        # All that was ever removed, less what we had read of it: Redis removes from the front only.
        removed = int(stream["entries-added"]) - int(stream["length"])
        # A group that somebody else created does not count until it has read.
        read = 0 if group["last-delivered-id"] == "0-0" else group["entries-read"]
        if read is not None and removed > int(read):
            before = first.get(key) or str(stream["recorded-first-entry-id"])
            yield Missed(key, removed - int(read), str(group["last-delivered-id"]), before)


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


@contextmanager
def _redis_errors() -> Iterator[None]:
    try:
        yield
    except redis.RedisError as error:
        raise StoreUnavailable(f"redis: {type(error).__name__}: {str(error)[:300]}") from error
