"""A venue connection's life: connect, subscribe, keep alive, find it dead, replace it before the venue cuts it.

A socket that is not in charge (a successor, or the pump is waiting for its lease) decodes and keeps its books, but
holds its events back. When it gets into charge they are taken in order, and what was written already is dropped by id.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from coinswarm import __version__
from coinswarm.connections import Connection
from coinswarm.errors import CoinswarmError
from coinswarm.sources.http import base_url
from coinswarm.ticks.book_keeper import BookCounters, BookKeeper
from coinswarm.ticks.feeds import Feed, Feeds, TradeFeed
from coinswarm.ticks.gaps import GapReason
from coinswarm.ticks.liveness import Pulse, Watch
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Event,
    Funding,
    Goodbye,
    Heartbeat,
    Liquidation,
    MalformedFrame,
    Reply,
    TopOfBook,
    Trade,
    Unknown,
)
from coinswarm.ticks.model import (
    Sequence as FrameNumber,
)
from coinswarm.ticks.protocol import Proof, Venue
from coinswarm.ticks.refill import refill
from coinswarm.ticks.rest import Rest
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.verdicts import Trouble

MAX_FRAME_BYTES = 32 << 20
_PING_SECONDS = 25.0
_SILENT_SOCKET_SECONDS = 60.0
# Coinbase allows eight messages a second from one address, and three connections of ours greet it at the same time.
_SPACING_SECONDS = 0.5
_UNKNOWN_KINDS = 100
_BRACKETS = b"{["
_NO_BOOK = "no book: "
_log = logging.getLogger(__name__)


class SessionCounters:
    """Of one shard."""

    __slots__ = ("acks", "connects", "failures", "frames", "frozen", "heartbeats", "lost_frames", "malformed",
                 "rollovers", "subscriptions_refused", "unknown")  # fmt: skip

    def __init__(self) -> None:
        self.acks = self.connects = self.failures = self.frames = self.frozen = self.heartbeats = 0
        self.lost_frames = self.malformed = self.rollovers = self.subscriptions_refused = 0
        self.unknown: dict[str, int] = {}


class SessionHost(Protocol):
    """The pump, as its sessions see it."""

    writing: bool
    """Whether the lease is ours and seeds are set."""

    def session_changed(self, name: str, problem: str) -> None:
        """A venue is away or refuses (empty: it is well again)."""
        ...

    def keep_malformed(self, name: str, frame: bytes, error: str) -> None:
        """Keep a frame for inspection."""
        ...


def socket_url(url: str, connection: Connection) -> str:
    """Where a venue's address really leads: `extra["hosts"]`, below `host`, or the venue itself."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    base = base_url(connection, host)
    if base == f"https://{host}":
        return url
    scheme, _, rest = base.partition("://")
    query = f"?{parts.query}" if parts.query else ""
    return f"{'wss' if scheme in ('https', 'wss') else 'ws'}://{rest}{parts.path}{query}"


class Link(WSListener):
    """One socket."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.opened_at = time.monotonic()
        self.closed = asyncio.Event()
        self.retiring = asyncio.Event()
        self.in_charge = False
        self.goodbye = ""
        self.why_closed = ""
        self.heard_ms = time.time_ns() // 1_000_000
        """When it last gave a sign of life that is no event, by our clock: that goes on while a machine sleeps."""
        self.traded: set[str] = set()
        self.books = BookKeeper(session.venue, session.feeds, session.settings, self, session.books)
        self.transport: WSTransport | None = None
        self._session = session
        self._counters = session.counters
        self._decode = session.venue.decode
        self._held: deque[tuple[Event, int]] = deque(maxlen=session.settings.held_events)
        self._take: Callable[[Link, Sequence[Event], int], None] = _hold
        self.frames = 0
        self._recv_ms = 0
        self._parts: list[bytes] = []
        self._next_number: int | None = None
        self._fresh = True

    # From the socket

    def on_ws_connected(self, transport: WSTransport) -> None:
        """The handshake is done."""
        self.transport = transport
        # Left to itself the system keeps megabytes, and picows doubles its buffer until one reading takes them all.
        most = self._session.settings.socket_receive_bytes
        transport.underlying_transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, most)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A frame came: the hot path."""
        payload = frame.get_payload_as_bytes()
        # What begins with a bracket is a message. The type is asked of all else only: it costs as much as reading.
        if not payload or payload[0] not in _BRACKETS or self._parts or not frame.fin:
            assembled = self._assemble(frame, payload)
            if assembled is None:
                return
            payload = assembled
        # All frames of one reading were received at the same time.
        recv_ms = self._recv_ms
        if not recv_ms:
            recv_ms = time.time_ns() // 1_000_000
            if not frame.last_in_buffer:
                # The last one may be a control frame, which does not come by here.
                self._recv_ms = recv_ms
                asyncio.get_running_loop().call_soon(self._end_of_reading)
        self.frames += 1
        try:
            events = self._decode(payload)
        except MalformedFrame as error:
            self._session.malformed(self, payload, str(error))
            return
        except Exception as error:
            # A decoder must not do this, but one frame of a kind that nobody thought of must not end all others.
            _log.exception("decoding a frame of %s failed", self._session.venue.name)
            self._session.malformed(self, payload, f"{type(error).__name__}: {error}")
            return
        self._take(self, events, recv_ms)

    def _end_of_reading(self) -> None:
        self._recv_ms = 0

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """The socket is gone."""
        self.count_frames()
        if not self.why_closed:
            info = transport.close_handshake
            received = getattr(info, "recv", None)
            self.why_closed = f"closed by the venue ({received.code} {received.reason})" if received else "broke"
        self.closed.set()

    def _assemble(self, frame: WSFrame, payload: bytes) -> bytes | None:
        kind = frame.msg_type
        if kind == WSMsgType.CLOSE:
            if self.transport is not None:
                self.transport.disconnect()
            return None
        if kind not in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self.heard_ms = time.time_ns() // 1_000_000
            return None
        self._parts.append(payload)
        if sum(map(len, self._parts)) > MAX_FRAME_BYTES:
            self.close("a message is too large")
            return None
        if not frame.fin:
            return None
        parts, self._parts = self._parts, []
        return b"".join(parts)

    # As an origin of events, and as the host of its books

    def book(self, event: BookUpdate | TopOfBook, recv_ms: int) -> None:
        """An event of a book."""
        self.books.take(event, recv_ms)

    def control(self, event: Event) -> None:
        """An event that is about the connection."""
        self.heard_ms = time.time_ns() // 1_000_000
        if isinstance(event, Heartbeat):
            self._counters.heartbeats += 1
        elif isinstance(event, FrameNumber):
            self._number(event.number)
        elif isinstance(event, Reply):
            self.send((event.frame,))
        elif isinstance(event, Ack):
            self._session.acknowledged(event)
        elif isinstance(event, Goodbye):
            self.goodbye = event.reason
            self.retiring.set()
        elif isinstance(event, Unknown):
            unknown = self._counters.unknown
            kind = event.kind if event.kind in unknown or len(unknown) < _UNKNOWN_KINDS else "other"
            unknown[kind] = unknown.get(kind, 0) + 1

    def _number(self, number: int) -> None:
        expected, self._next_number = self._next_number, number + 1
        if expected is not None and number > expected:
            self._counters.lost_frames += number - expected
            self._session.lost_frames(self)

    def send(self, frames: Iterable[bytes]) -> None:
        """Send text frames."""
        if self.transport is not None and not self.closed.is_set():
            for frame in frames:
                self.transport.send(WSMsgType.TEXT, frame)

    def fetch(self, url: str, got: Callable[[bytes | None], None]) -> None:
        """Ask REST for a book."""
        self._session.fetch(self, url, got)

    def restart(self, reason: str) -> None:
        """Connect anew."""
        self.close(reason)

    def count_frames(self) -> None:
        """Add to the shard's counter."""
        self._counters.frames += self.frames
        self.frames = 0

    def close(self, reason: str) -> None:
        """Close the socket; `closed` is set when it is."""
        self.why_closed = self.why_closed or reason
        if self.transport is not None:
            self.transport.disconnect(graceful=False)
        else:
            self.closed.set()

    def pause(self, paused: bool) -> None:
        """Let the venue feel that we cannot follow."""
        if self.transport is None or self.closed.is_set():
            return
        with contextlib.suppress(RuntimeError):
            if paused:
                self.transport.underlying_transport.pause_reading()
            elif not self.transport.underlying_transport.is_reading():
                self.transport.underlying_transport.resume_reading()

    # In charge or not

    @property
    def age(self) -> float:
        """Seconds since the socket was opened."""
        return time.monotonic() - self.opened_at

    @property
    def warm(self) -> bool:
        """Whether it could take over without a hole."""
        settings, trading = self._session.settings, self._session.trading
        if self._fresh and self.age < settings.warm_up_seconds:
            return False
        traded = self.age >= settings.warm_up_seconds or self.traded >= trading
        return traded and (self.books.all_valid or self.age >= 3 * settings.warm_up_seconds)

    def hold(self, events: Sequence[Event], recv_ms: int) -> None:
        """Keep what may not be written yet."""
        for event in events:
            if type(event) is Trade:
                self.traded.add(event.symbol)
                self._held.append((event, recv_ms))
            elif isinstance(event, BookUpdate | TopOfBook):
                self.books.take(event, recv_ms)
            elif isinstance(event, Ack | Goodbye | Heartbeat | FrameNumber | Reply | Unknown):
                self.control(event)
            else:
                self._held.append((event, recv_ms))
        self._fresh = False

    def take_charge(self, *, replaces: bool = False) -> None:
        """From here on its events are written, beginning with those that it held; or it replaces the one in charge."""
        feeds = self._session.feeds
        self.in_charge = True
        held, self._held = self._held, deque()
        last = {
            (type(event), getattr(event, "symbol", "") or getattr(event, "asset", "")): index
            for index, (event, _) in enumerate(held)
        }
        for index, (event, recv_ms) in enumerate(held):
            # Of states only the newest says something; it may have been written by the one before us. Some venues give
            # changes of a funding rate only.
            name = getattr(event, "symbol", "") or getattr(event, "asset", "")
            if isinstance(event, Trade | Liquidation | Funding) or last[type(event), name] == index:
                feeds.take(self, (event,), recv_ms)
        self.books.in_charge(time.time_ns() // 1_000_000, replaces=replaces)
        if self._fresh:
            self._take = _take_first
        else:
            self._session.came_alive()
            self._take = self._session.feeds.take

    def retire(self) -> None:
        """Nothing of this socket counts any more."""
        self.in_charge = False
        self._take = _ignore

    def first(self, events: Sequence[Event], recv_ms: int) -> None:
        """The first frame: somebody is there."""
        self._fresh = False
        self._take = self._session.feeds.take
        self._session.came_alive()
        self._take(self, events, recv_ms)


def _hold(link: Link, events: Sequence[Event], recv_ms: int) -> None:
    link.hold(events, recv_ms)


def _take_first(link: Link, events: Sequence[Event], recv_ms: int) -> None:
    link.first(events, recv_ms)


def _ignore(link: Link, events: Sequence[Event], recv_ms: int) -> None:
    return None


class Session:
    """One connection of one venue, over all its sockets."""

    def __init__(
        self,
        venue: Venue,
        feeds: Feeds,
        settings: TickSettings,
        connection: Connection,
        rest: Rest,
        host: SessionHost,
        counters: SessionCounters,
        books: BookCounters,
    ) -> None:
        self.venue = venue
        self.feeds = feeds
        self.settings = settings
        self.counters = counters
        self.books = books
        self.link: Link | None = None
        self.trading = {stream.symbol for stream in venue.streams if stream.channel is Channel.TRADES}
        self._connection = connection
        self._rest = rest
        self._host = host
        self._successor: Link | None = None
        self._paused = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._problem = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._frozen_since: dict[str, int] = {}
        self._watches = {
            (stream.channel, stream.symbol): Watch(int(stream.quiet_seconds * 1000)) for stream in venue.streams
        }

    def own_feeds(self) -> list[Feed]:
        """The streams of this connection."""
        return [self.feeds.get(stream.channel, stream.symbol) for stream in self.venue.streams]

    async def run(self) -> None:
        """Stay connected until cancelled."""
        link: Link | None = None
        short = 0  # sockets in a row that did not last
        try:
            while True:
                if link is None:
                    link = await self._connect_patiently()
                    self.link = link
                    if self._host.writing:
                        link.take_charge()
                    self._well()
                successor = await self._until_replaced(link)
                if successor is None:
                    self._went_down(link)
                    self.link = None
                    short = short + 1 if link.age < self.settings.reconnect_longest_seconds else 0
                    if short:
                        await asyncio.sleep(self._back_off(short))
                else:
                    self.counters.rollovers += 1
                    if link.closed.is_set() and not successor.warm:
                        self._went_down(link)  # nobody heard what came in between
                    link.retire()
                    self.link, self._successor = successor, None
                    if self._host.writing:
                        successor.take_charge(replaces=True)
                    link.close("replaced")
                    self._well()
                link = successor
        finally:
            for one in (self.link, self._successor):
                if one is not None:
                    one.retire()
                    one.close("the session ends")
            for task in self._tasks:
                task.cancel()

    @property
    def warm(self) -> bool:
        """Whether it could take over without a hole."""
        return self.link is not None and self.link.warm

    def turn(self, now_ms: int) -> None:
        """Publish the books that are due."""
        if self.link is not None and self.link.in_charge:
            self.link.books.publish(now_ms)

    def activate(self) -> None:
        """The pump writes from now on."""
        if self.link is not None:
            self.link.take_charge()
            return
        for feed in self.own_feeds():
            feed.minutes.down_since = feed.minutes.down_since or time.time_ns() // 1_000_000

    def pause(self, paused: bool) -> None:
        """Stop reading, or read on."""
        self._paused = paused
        if paused:
            self._flows.clear()
        else:
            self._flows.set()
            # It was us who did not listen.
            for watch in self._watches.values():
                watch.calm_ms = time.time_ns() // 1_000_000
        for link in (self.link, self._successor):
            if link is not None:
                link.pause(paused)

    # Connecting

    async def _connect_patiently(self) -> Link:
        failures = 0
        while True:
            # Whom we cannot read we do not call.
            await self._flows.wait()
            try:
                return await self._connect()
            except (OSError, TimeoutError, WSError, ValueError) as error:
                failures += 1
                self.counters.failures += 1
                self._ill(f"{type(error).__name__}: {str(error)[:200]}")
                await asyncio.sleep(self._back_off(failures))

    def _back_off(self, failures: int) -> float:
        settings = self.settings
        longest = min(settings.retry_first_seconds * 2 ** min(failures - 1, 16), settings.reconnect_longest_seconds)
        return float(longest * random.uniform(0.5, 1.0))

    async def _connect(self) -> Link:
        proxy = self._connection.extra.get("proxy")
        _, link = await ws_connect(
            lambda: Link(self),
            socket_url(self.venue.url, self._connection),
            websocket_handshake_timeout=self.settings.connect_timeout_seconds,
            max_frame_size=MAX_FRAME_BYTES,
            extra_headers={"User-Agent": f"coinswarm/{__version__}"},
            proxy=str(proxy) if proxy else None,
        )
        assert isinstance(link, Link)  # noqa: S101 - what the factory made
        self.counters.connects += 1
        link.pause(self._paused)
        self._keep(self._greet(link))
        return link

    async def _greet(self, link: Link) -> None:
        for number, frame in enumerate(self.venue.subscribe()):
            if number:
                await asyncio.sleep(_SPACING_SECONDS)
            if link.closed.is_set():
                return
            link.send((frame,))
        self._keep(self._keep_alive(link))

    async def _keep_alive(self, link: Link) -> None:
        own = self.venue.ping
        while True:
            await asyncio.sleep(own.seconds if own is not None else _PING_SECONDS)
            if link.closed.is_set() or link.transport is None:
                return
            if own is not None:
                link.send((own.frame,))
            else:
                link.transport.send_ping()

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # The end of a socket

    async def _until_replaced(self, link: Link) -> Link | None:
        """The socket that follows, or None once this one is gone without."""
        lifetime = self.venue.lifetime_seconds
        due = lifetime * self.settings.lifetime_share * random.uniform(0.95, 1.0) - link.age if lifetime else None
        await _first_of(link.closed, link.retiring, seconds=due)
        failures = 0
        while not link.closed.is_set():
            try:
                successor = self._successor = await self._connect()
            except (OSError, TimeoutError, WSError, ValueError):
                failures += 1
                self.counters.failures += 1
                await _first_of(link.closed, seconds=self._back_off(failures))
                continue
            while not (successor.warm or successor.closed.is_set() or link.closed.is_set()):
                await _first_of(link.closed, successor.closed, seconds=0.05)
            if not successor.closed.is_set():
                return successor
            self._successor = None
            failures += 1
            await _first_of(link.closed, seconds=self._back_off(failures))
        return None

    def _went_down(self, link: Link) -> None:
        reason = GapReason.OVERFLOW if self._paused else GapReason.DISCONNECT
        was_in_charge = link.in_charge
        link.retire()
        self._ill(link.why_closed)
        if was_in_charge:
            now_ms = time.time_ns() // 1_000_000
            # A stream may be quiet for hours: what it last heard bounds the hole only if that was within a minute of
            # the socket's own last sign of life.
            alive_ms = min(self._alive_ms(link), now_ms - 60_000)
            for feed in self.own_feeds():
                since = min(feed.heard_ms or now_ms, now_ms)
                self.feeds.interrupted(feed, reason, max(since, alive_ms), why=link.why_closed)

    def _alive_ms(self, link: Link) -> int:
        return max((link.heard_ms, *(feed.heard_ms for feed in self.own_feeds())))

    # What the socket tells

    def came_alive(self) -> None:
        """A frame came on the socket in charge: that is life, but not of a stream that was frozen."""
        now_ms = time.time_ns() // 1_000_000
        for feed in self.own_feeds():
            down = feed.channel is not Channel.BOOK and feed.minutes.down_since is not None
            if down and feed.name not in self._frozen_since:
                self._resumed(feed, now_ms)

    def _resumed(self, feed: Feed, now_ms: int) -> None:
        gap = self.feeds.resumed(feed, now_ms)
        if gap is not None and isinstance(feed, TradeFeed) and self.settings.ask_rest:
            self._keep(refill(self._rest, self.feeds, feed, gap))

    def acknowledged(self, ack: Ack) -> None:
        """Answer to a subscription."""
        if ack.accepted:
            self.counters.acks += 1
        else:
            self.counters.subscriptions_refused += 1
            self._ill(f"refused: {ack.detail}")

    def malformed(self, link: Link, frame: bytes, error: str) -> None:
        """A frame could not be read."""
        self.counters.malformed += 1
        self._host.keep_malformed(self.venue.name, frame, error)
        if link.in_charge:
            now_ms = time.time_ns() // 1_000_000
            self.feeds.malformed_ms = now_ms
            for feed in self.own_feeds():
                feed.minutes.flag(now_ms, now_ms, Trouble.MALFORMED)
                # Where there are no numbers nothing would ever tell what was in there. Of states the next one says all.
                if feed.proof is Proof.NONE and feed.channel in (Channel.TRADES, Channel.LIQUIDATIONS):
                    self.feeds.doubtful(feed, GapReason.MALFORMED, now_ms, now_ms, error=error[:200])

    def lost_frames(self, link: Link) -> None:
        """Frames of the connection are missing, and nobody knows whose."""
        if link.in_charge:
            now_ms = time.time_ns() // 1_000_000
            for feed in self.own_feeds():
                feed.minutes.flag(now_ms, now_ms, Trouble.HOLE)
        link.books.broken(None, Trouble.RESYNC, "a frame is missing")

    def fetch(self, link: Link, url: str, got: Callable[[bytes | None], None]) -> None:
        """Ask REST in the background."""
        self._keep(self._fetch(link, url, got))

    async def _fetch(self, link: Link, url: str, got: Callable[[bytes | None], None]) -> None:
        body = None
        try:
            body = await self._rest.body(url)
            if self._problem.startswith(_NO_BOOK):
                self._well()
        except CoinswarmError as error:
            self._ill(f"{_NO_BOOK}{error}")
        finally:
            if not link.closed.is_set():
                got(body)

    # Once a second and more often

    def tick(self, now_ms: int) -> None:
        """Look after books and silent streams."""
        for one in (self.link, self._successor):
            if one is not None:
                one.count_frames()
                if not self._paused:
                    one.books.tick()
        link = self.link
        if link is None or not link.in_charge or self._paused or link.closed.is_set():
            return
        if self.settings.liveness:
            if now_ms - self._alive_ms(link) > _SILENT_SOCKET_SECONDS * 1000:
                link.close("the socket is silent")
                return
            for feed in self.own_feeds():
                self._look_at(link, feed, now_ms)

    def _look_at(self, link: Link, feed: Feed, now_ms: int) -> None:
        watch = self._watches[feed.channel, feed.symbol]
        if feed.heard_ms > watch.heard_ms:
            watch.heard(feed.heard_ms)
            if self._frozen_since.pop(feed.name, now_ms) < feed.heard_ms and feed.channel is not Channel.BOOK:
                self._resumed(feed, feed.heard_ms)
        if feed.channel is Channel.BOOK and feed.minutes.down_since is not None:
            return  # it waits for its snapshot, which the books see to
        since = max(watch.heard_ms, watch.calm_ms, int((time.time() - link.age) * 1000))
        pulse = watch.judge(since, now_ms)
        if pulse is Pulse.FROZEN:
            self._frozen(link, feed, since, now_ms)
        elif (
            pulse is Pulse.QUIET
            and self.settings.ask_rest
            and isinstance(feed, TradeFeed)
            and feed.continuity.last >= 0
            and watch.should_ask(now_ms)
        ):
            self._keep(self._ask(link, feed, watch, since))

    async def _ask(self, link: Link, feed: TradeFeed, watch: Watch, since: int) -> None:
        try:
            newer = await self._rest.newer_trade(feed.symbol, feed.continuity.last)
        except CoinswarmError:
            return
        now_ms = time.time_ns() // 1_000_000
        if newer is False:
            watch.calm_ms = now_ms
        elif newer and feed.heard_ms <= since and not link.closed.is_set() and link.in_charge:
            self._frozen(link, feed, since, now_ms)

    def _frozen(self, link: Link, feed: Feed, since: int, now_ms: int) -> None:
        if link.closed.is_set() or link.why_closed:
            return
        self.counters.frozen += 1
        self._watches[feed.channel, feed.symbol].reconnected()
        self._frozen_since[feed.name] = now_ms
        feed.minutes.flag(since, now_ms, Trouble.SILENCE)
        self.feeds.interrupted(feed, GapReason.SILENCE, since, silent_ms=now_ms - since)
        link.close(f"{feed.name} is silent")

    def _ill(self, problem: str) -> None:
        if not self._problem:
            self._problem = problem
            self._host.session_changed(self.venue.name, problem)

    def _well(self) -> None:
        if self._problem:
            self._problem = ""
            self._host.session_changed(self.venue.name, "")


async def _first_of(*events: asyncio.Event, seconds: float | None) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, timeout=None if seconds is None else max(seconds, 0.0),
                           return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
    finally:
        for one in waits:
            one.cancel()
