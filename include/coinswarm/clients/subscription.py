"""Reading several Redis streams in one order, with every loss told: by position, or as a member of a consumer group."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError

from coinswarm.clients.channels import LISTED, Channel, check_known, listed
from coinswarm.clients.messages import AnyMessage, Interrupted, Missed, Resumed, read
from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable
from coinswarm.ticks.positions import START, Cause, Loss, StreamState, before, order, reckon, state_of
from coinswarm.timeframes import milliseconds

COUNT = 500
"""Entries of one stream per reading."""
BLOCK_MS = 5_000
LOOK_SECONDS = 10.0
"""How long reading may go on without a look at the streams: far shorter than they are kept."""
CLAIM_IDLE_MS = 60_000
"""What another consumer of the group was given that long ago and has not acknowledged, is taken over at the start."""
_ACKS = 100
_LONGEST_PAUSE = 5.0
_RAW = ("XINFO STREAM", "XINFO GROUPS", "XREAD", "XREADGROUP", "XAUTOCLAIM")
_Entries = list[tuple[str, list[str] | None]]


def client_of(connection: Connection, name: str, connected: Callable[[], None] = lambda: None) -> Any:
    """A client that sends a command once, and gives the replies as they are; `connected` is told of each connection."""

    async def greet(fresh: Any) -> None:
        await fresh.on_connect()
        connected()

    client: Any = redis.Redis(
        **connection.redis_arguments,
        protocol=2,
        decode_responses=True,
        encoding_errors="replace",
        socket_connect_timeout=5,
        socket_timeout=BLOCK_MS / 1000 + 10,
        client_name=name,
        retry=Retry(NoBackoff(), 0),
        redis_connect_func=greet,
    )
    for command in _RAW:
        client.response_callbacks.pop(command, None)
    return client


@dataclass(slots=True)
class _Stream:
    channel: Channel
    position: str = START
    """The last id that was read."""
    count: int | None = None
    """Entries ever added up to `position`."""
    given: str = START
    """The last id that was handed out, or passed over."""
    told: str = ""
    """Where a group stood when an uncertain loss was told."""


class _Item(NamedTuple):
    message: AnyMessage | None  # None: of another venue, passed over
    stream: _Stream | None = None
    position: str = ""  # where the stream stands after it; empty: where it stood
    entry_id: str = ""  # to be acknowledged


class _Gap(NamedTuple):
    loss: Loss
    after: str


class Subscription(ABC):
    """An async iterator of messages, from `CommitteeData.subscribe`.

    Messages come in the order in which Redis took them, over all channels, to the millisecond. Waiting may be
    cancelled (`asyncio.timeout`) and taken up again; nothing is lost by that. One task at a time may wait.
    """

    def __init__(
        self,
        connection: Connection,
        channels: Sequence[Channel],
        start: str | datetime | Mapping[str, str],
        venues: frozenset[str] | None,
    ) -> None:
        """Nothing is connected before the first message is asked for, or `begin`."""
        self._connection = connection
        self._start = start
        self._venues = venues
        self._streams = [_Stream(channel) for channel in channels]
        self._by_key = {stream.channel.key: stream for stream in self._streams}
        self._keys = list(self._by_key)
        self._client = client_of(connection, "coinswarm-committee", self._connected)
        self._buffer: deque[_Item] = deque()
        self._working: asyncio.Future[None] | None = None
        self._closed = False
        self._begun = False
        self._lock = asyncio.Lock()
        self._failures = 0
        self._connections = 0
        self._looked_over = 0
        """Number of the connection over which the streams were looked at last."""
        self._looked = 0.0
        self._behind = True
        self._given: _Item | None = None

    @property
    def position(self) -> dict[str, str]:
        """By channel, the id of the last message that was handed out, or where reading began: a `start` for later."""
        return {stream.channel.name: stream.given for stream in self._streams}

    async def begin(self) -> None:
        """Connect, and fix where reading begins: `now` is now. Without it, it is when the first message is asked for.

        Raises:
            UserError: there is no such channel.
            StoreUnavailable: Redis does not answer, or refuses the login or a command.
        """
        try:
            await self._ensure_begun()
        except (ResponseError, AuthenticationError) as error:
            raise self._refused(error) from None
        except (RedisError, OSError) as error:
            raise StoreUnavailable(f"{self._connection.conn_id}: {str(error)[:300]}") from None

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> AnyMessage:
        """The next message.

        Raises:
            UserError: there is no such channel.
            StoreUnavailable: Redis refuses the login or a command.
        """
        self._handled()
        while not self._closed:
            while self._buffer:
                item = self._buffer.popleft()
                self._given = item
                if item.stream is not None and item.position:
                    item.stream.given = item.position
                if item.message is not None:
                    return item.message
                self._handled()
            if self._working is None:
                self._working = asyncio.ensure_future(self._fill())
            working = self._working
            try:
                # Whoever waits may give up; what is being read goes to the buffer all the same.
                await asyncio.shield(working)
            except asyncio.CancelledError:
                # Somebody else has closed us, or our own task is to end.
                if not (self._closed and working.cancelled()):
                    raise
            finally:
                if working.done():
                    self._working = None
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Disconnect. The message that was handed out last counts as unhandled."""
        self._closed = True
        working, self._working = self._working, None
        if working is not None:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        try:
            if self._begun:
                await self._farewell()
        except (RedisError, OSError):
            pass  # they come again
        finally:
            await self._client.aclose()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # Reading

    async def _fill(self) -> None:
        """Until there is something in the buffer."""
        # Libraries have swallowed cancellations before.
        while not self._buffer and not self._closed:
            if self._failures:
                pause = min(0.05 * 2 ** min(self._failures, 10), _LONGEST_PAUSE)
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            try:
                await self._ensure_begun()
                if self._connections != self._looked_over:
                    self._interrupted()
                looking = self._behind or asyncio.get_running_loop().time() - self._looked > LOOK_SECONDS
                started = asyncio.get_running_loop().time()
                self._behind = False
                replies = await (self._look() if looking else self._wait())
                if looking:
                    self._looked, self._looked_over = started, self._connections
                if self._failures:
                    self._failures = 0
                    self._buffer.appendleft(_Item(Resumed()))
                self._behind = self._behind or any(len(entries) >= COUNT for entries in replies.values())
            except (ResponseError, AuthenticationError) as error:
                raise self._refused(error) from None
            except (RedisError, OSError) as error:
                self._interrupted()
                self._failures += 1
                if self._failures == 1:
                    reason = f"{type(error).__name__}: {str(error)[:200]}"
                    self._buffer.append(_Item(Interrupted(reason=reason)))

    async def _ensure_begun(self) -> None:
        async with self._lock:
            if self._begun:
                return
            channels = [stream.channel for stream in self._streams]
            if any(one.symbol not in listed(one.kind) for one in channels):
                check_known(channels, await self._client.smembers(LISTED))
            pipe = self._client.pipeline(transaction=True)
            self._ask_states(pipe)
            states = _states(await pipe.execute(raise_on_error=False))
            for stream, state in zip(self._streams, states, strict=True):
                stream.position, stream.count = self._beginning(stream.channel, state)
                stream.given = stream.position
            await self._begin()
            self._begun = True

    def _beginning(self, channel: Channel, state: StreamState) -> tuple[str, int | None]:
        start = self._start
        # An id of this very stream; of several channels, one id is only a time to the others.
        own = isinstance(start, Mapping) or len(self._streams) == 1
        if isinstance(start, Mapping):
            start = start.get(channel.name, "now")
        if start == "now":
            return state.last, state.added
        if start == "oldest":
            return START, state.removed
        if isinstance(start, datetime):
            start, own = before(milliseconds(start.astimezone(UTC))), False
        if start == state.last or (not own and order(start) > order(state.last)):
            return state.last, state.added
        return start, None

    def _ask_states(self, pipe: Any) -> None:
        for key in self._keys:
            pipe.execute_command("XINFO STREAM", key)

    def _take(self, replies: Mapping[str, _Entries], gaps: Mapping[str, _Gap]) -> None:
        """Put entries into the buffer, in order, each gap before the first entry that is left of its stream."""
        items = []
        for key, gap in gaps.items():
            stream, entries = self._by_key[key], replies.get(key)
            missed = Missed(
                channel=stream.channel.name,
                id=entries[0][0] if entries else "",
                cause=gap.loss.cause,
                entries=gap.loss.entries,
                after=gap.after,
            )
            # Only if Redis went back, its ids may begin anew.
            back = stream.position if order(stream.position) < order(gap.after) else ""
            items.append(((*order(missed.id or gap.after), 0), _Item(missed, stream, back)))
        for key, entries in replies.items():
            stream = self._by_key[key]
            channel = stream.channel
            for entry_id, flat in entries:
                fields = dict(zip(flat[::2], flat[1::2], strict=False)) if flat else {}
                wanted = self._venues is None or self._wants(fields)
                message = read(channel.kind, channel.name, channel.symbol, entry_id, fields) if wanted else None
                items.append(((*order(entry_id), 1), _Item(message, stream, entry_id, entry_id)))
            if entries and order(entries[-1][0]) > order(stream.position):
                stream.position = entries[-1][0]
        items.sort(key=lambda item: item[0])
        self._buffer.extend(item for _, item in items)

    def _wants(self, fields: Mapping[str, str]) -> bool:
        assert self._venues is not None  # noqa: S101 - the caller looked
        if "venue" in fields:
            return fields["venue"] in self._venues
        pair = {fields.get("buy") or fields.get("bid_venue", ""), fields.get("sell") or fields.get("ask_venue", "")}
        return pair <= self._venues

    @abstractmethod
    async def _begin(self) -> None:
        """Make what must be there before reading."""

    @abstractmethod
    async def _look(self) -> Mapping[str, _Entries]:
        """Read what there is, and at the same moment look whether anything is missing."""

    @abstractmethod
    async def _wait(self) -> Mapping[str, _Entries]:
        """Read, and wait for the first entry if there is none."""

    def _connected(self) -> None:
        self._connections += 1

    async def _ask(self, *command: str | int) -> dict[str, _Entries] | None:
        """Entries by key; None if the connection turned out to be another one: first look whether they follow."""
        reply = await self._client.execute_command(*command)
        if self._connections != self._looked_over:
            self._interrupted()
            return None
        return _replies(reply)

    def _interrupted(self) -> None:
        """The connection broke."""
        self._behind = True

    def _refused(self, error: RedisError) -> StoreUnavailable:
        """What to raise where trying again does not help."""
        return StoreUnavailable(f"{self._connection.conn_id}: {type(error).__name__}: {str(error)[:300]}")

    def _handled(self) -> None:
        """The message that was handed out last has been dealt with."""
        self._given = None

    async def _farewell(self) -> None:
        """Last words to Redis."""
        return


class PositionSubscription(Subscription):
    """Reads on from the last id of each stream. Nothing is kept in Redis: any number of agents may do so."""

    async def _begin(self) -> None:
        return

    async def _look(self) -> Mapping[str, _Entries]:
        pipe = self._client.pipeline(transaction=True)
        self._ask_states(pipe)
        pipe.execute_command("XREAD", "COUNT", COUNT, "STREAMS", *self._keys, *self._positions())
        *looked, found = await pipe.execute(raise_on_error=False)
        replies = _replies(found)
        kept = _in_order(replies)
        gaps: dict[str, _Gap] = {}
        for stream, state in zip(self._streams, _states(looked), strict=True):
            key = stream.channel.key
            entries = replies.get(key, [])
            loss, count = reckon(state, stream.position, stream.count, len(entries), whole=len(entries) < COUNT)
            stream.count = None if count is None else count - len(entries) + len(kept.get(key, ()))
            if loss is not None:
                gaps[key] = _Gap(loss, stream.position)
            if order(stream.position) > order(state.last):
                stream.position = state.last
        self._take(kept, gaps)
        return replies

    async def _wait(self) -> Mapping[str, _Entries]:
        replies = await self._ask(
            "XREAD", "COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS", *self._keys, *self._positions()
        )
        if replies is None:
            return {}
        kept = _in_order(replies)
        for key, entries in kept.items():
            stream = self._by_key[key]
            if stream.count is not None:
                stream.count += len(entries)
        self._take(kept, {})
        return replies

    def _positions(self) -> list[str]:
        return [stream.position for stream in self._streams]


class GroupSubscription(Subscription):
    """A member of a consumer group: each entry goes to one of its consumers, again if it is not acknowledged."""

    def __init__(
        self,
        connection: Connection,
        channels: Sequence[Channel],
        start: str | datetime | Mapping[str, str],
        venues: frozenset[str] | None,
        group: str,
        consumer: str,
    ) -> None:
        super().__init__(connection, channels, start, venues)
        self._group = group
        self._consumer = consumer
        self._acks: dict[str, list[str]] = {}
        self._waiting_acks = 0
        self._recovering = True

    async def __anext__(self) -> AnyMessage:
        """The next message; the one before counts as handled."""
        self._handled()
        if self._waiting_acks >= _ACKS and self._working is None:
            self._working = asyncio.ensure_future(self._acknowledge_if_possible())
        if self._working is not None and self._buffer:
            working = self._working
            try:
                await asyncio.shield(working)
            finally:
                if working.done():
                    self._working = None
        return await super().__anext__()

    async def _begin(self) -> None:
        for stream in self._streams:
            if not await self._create(stream):
                # It goes on where it is.
                stream.position, stream.count = START, None
        for key in self._keys:
            start = START
            while True:
                start, _, gone = await self._client.execute_command(
                    "XAUTOCLAIM", key, self._group, self._consumer, CLAIM_IDLE_MS, start, "COUNT", COUNT
                )
                if gone:
                    self._take({}, {key: _Gap(Loss(Cause.TRIMMED, len(gone)), START)})
                if start == START:
                    break

    async def _create(self, stream: _Stream) -> bool:
        """Make the group, from the stream's position on; False if it is there."""
        counted = () if stream.count is None else ("ENTRIESREAD", stream.count)
        try:
            await self._client.execute_command(
                "XGROUP", "CREATE", stream.channel.key, self._group, stream.position, "MKSTREAM", *counted
            )
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
            return False
        return True

    async def _look(self) -> Mapping[str, _Entries]:
        await self._acknowledge()
        if self._recovering:
            await self._recover()
            self._recovering = False
            if self._buffer:
                return {}
        pipe = self._client.pipeline(transaction=True)
        self._ask_states(pipe)
        for key in self._keys:
            pipe.execute_command("XINFO GROUPS", key)
        given = (
            "GROUP",
            self._group,
            self._consumer,
            "COUNT",
            COUNT,
            "STREAMS",
            *self._keys,
            *(">" for _ in self._keys),
        )
        pipe.execute_command("XREADGROUP", *given)
        *looked, found = await pipe.execute(raise_on_error=False)
        if isinstance(found, ResponseError) and "NOGROUP" in str(found):
            await self._begin_again()
            return {}
        replies = _replies(found)
        gaps: dict[str, _Gap] = {}
        size = len(self._streams)
        for stream, state, groups in zip(self._streams, _states(looked[:size]), looked[size:], strict=True):
            gap = self._gap(stream, state, groups, len(replies.get(stream.channel.key, ())))
            if gap is not None:
                gaps[stream.channel.key] = gap
        self._take(replies, gaps)
        return replies

    def _gap(self, stream: _Stream, state: StreamState, groups: Any, read_now: int) -> _Gap | None:
        if isinstance(groups, Exception):
            raise groups
        group = next(one for one in map(_pairs, groups) if one["name"] == self._group)
        delivered, count = str(group["last-delivered-id"]), group["entries-read"]
        was, stream.position = stream.position, delivered
        if order(was) > order(delivered):
            # Redis was restarted without its newest entries; some of those that we had may come again.
            stream.count, stream.told = None, ""
            return _Gap(Loss(Cause.FORGOTTEN), was)
        # What was trimmed enters the group's own count only when it reads on.
        counted = None if count is None else max(int(count), stream.count or 0)
        loss, after = reckon(state, delivered, counted, read_now, whole=read_now < COUNT)
        if loss is None or (loss.entries is None and stream.told == delivered):
            return None
        stream.count, stream.told = after, delivered
        return _Gap(loss, delivered)

    async def _wait(self) -> Mapping[str, _Entries]:
        await self._acknowledge()
        given = ("GROUP", self._group, self._consumer, "COUNT", COUNT, "BLOCK", BLOCK_MS)
        try:
            replies = await self._ask("XREADGROUP", *given, "STREAMS", *self._keys, *[">"] * len(self._keys))
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise
            await self._begin_again()
            return {}
        if replies is None:
            return {}
        self._take(replies, {})
        return replies

    async def _recover(self) -> None:
        """What a process before us was given and did not finish, or an answer that was lost on its way to us.

        Whatever we did get has been handled and acknowledged by now: reading begins when the buffer is empty.
        """
        found: dict[str, _Entries] = {}
        gaps: dict[str, _Gap] = {}
        for stream in self._streams:
            key, start, gone = stream.channel.key, START, []
            while True:
                reply = _replies(
                    await self._client.execute_command(
                        "XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", COUNT, "STREAMS", key, start
                    )
                ).get(key, [])
                for entry_id, flat in reply:
                    if flat is None:
                        gone.append(entry_id)
                    else:
                        found.setdefault(key, []).append((entry_id, flat))
                if len(reply) < COUNT:
                    break
                start = reply[-1][0]
            if gone:
                gaps[key] = _Gap(Loss(Cause.TRIMMED, len(gone)), START)
                self._acks.setdefault(key, []).extend(gone)
        self._take(found, gaps)

    async def _begin_again(self) -> None:
        """Redis has lost a group, with or without its stream: from where we were, if that is still there."""
        pipe = self._client.pipeline(transaction=True)
        self._ask_states(pipe)
        gaps: dict[str, _Gap] = {}
        for stream, state in zip(self._streams, _states(await pipe.execute(raise_on_error=False)), strict=True):
            was = stream.position
            stream.count = None
            if order(was) > order(state.last):
                stream.position, stream.count = START, state.removed
            if await self._create(stream):
                gaps[stream.channel.key] = _Gap(Loss(Cause.FORGOTTEN), was)
                stream.told = ""
            else:
                stream.position = was
        self._take({}, gaps)
        self._behind = True

    def _interrupted(self) -> None:
        super()._interrupted()
        self._recovering = True

    def _refused(self, error: RedisError) -> StoreUnavailable:
        if not isinstance(error, NoPermissionError):
            return super()._refused(error)
        return StoreUnavailable(
            f"{self._connection.conn_id}: user {self._connection.login!r} may not read as a group, as that writes to"
            " Redis: subscribe without a group, or as a user who may, such as that of connection `redis_ticks`"
            f" ({str(error)[:200]})"
        )

    def _handled(self) -> None:
        item, self._given = self._given, None
        if item is not None and item.stream is not None and item.entry_id:
            self._acks.setdefault(item.stream.channel.key, []).append(item.entry_id)
            self._waiting_acks += 1

    async def _acknowledge(self) -> None:
        for key, ids in list(self._acks.items()):
            sent = tuple(ids)
            await self._client.execute_command("XACK", key, self._group, *sent)
            del ids[: len(sent)]
            if not ids:
                del self._acks[key]
        self._waiting_acks = sum(map(len, self._acks.values()))

    async def _acknowledge_if_possible(self) -> None:
        try:
            await self._acknowledge()
        except (ResponseError, AuthenticationError) as error:
            if "NOGROUP" not in str(error):
                raise self._refused(error) from None
        except (RedisError, OSError):
            self._interrupted()

    async def _farewell(self) -> None:
        await self._acknowledge()


def _pairs(flat: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _states(replies: Sequence[Any]) -> list[StreamState]:
    found = []
    for reply in replies:
        if isinstance(reply, Exception):
            if "no such key" not in str(reply):
                raise reply
            found.append(StreamState())
        else:
            found.append(state_of(reply))
    return found


def _replies(reply: Any) -> dict[str, _Entries]:
    if isinstance(reply, Exception):
        raise reply
    return {key: [(entry_id, flat) for entry_id, flat in entries] for key, entries in reply or ()}


def _in_order(replies: Mapping[str, _Entries]) -> dict[str, _Entries]:
    """Without what is younger than the end of a stream that has more: that is read again, after the rest of it."""
    ends = [order(entries[-1][0]) for entries in replies.values() if len(entries) >= COUNT]
    if not ends:
        return dict(replies)
    end = min(ends)
    kept = {key: [one for one in entries if order(one[0]) <= end] for key, entries in replies.items()}
    return {key: entries for key, entries in kept.items() if entries}
