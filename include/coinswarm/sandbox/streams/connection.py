"""The socket of one WebSocket connection: one thread, which answers what it hears and says what is due."""

from __future__ import annotations

import logging
import select
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable
from threading import Lock

from websockets.exceptions import InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams.faults import Delivery, StreamFaults
from coinswarm.sandbox.streams.session import Hangup, Message, Session

# How often a connection looks whether something is due.
_PACE = 0.1
_READ = 1 << 16
# Frames that are put together for one call of the socket.
_BATCH = 1 << 16
_MOST_CONNECTIONS = 512
# A client that takes nothing for so long is given up.
_SEND_TIMEOUT = 60.0
_LARGEST_REQUEST = 1 << 18
_log = logging.getLogger(__name__)
# The protocol tells of every connection.
_protocol_log = logging.getLogger(f"{__name__}.protocol")
_protocol_log.setLevel(logging.WARNING)


class _Ended(Exception):
    """The connection is over."""


class Streams:
    """All WebSocket connections of a sandbox, and what they sent."""

    def __init__(self, world: World, faults: StreamFaults) -> None:
        """None yet."""
        self.world = world
        self.faults = faults
        self._open: set[Connection] = set()
        self._lock = Lock()
        self._accepted = 0
        self._closing = False
        self._messages: Counter[str] = Counter()
        self._struck: Counter[str] = Counter()

    def state(self) -> dict[str, object]:
        """Connections open and ever, messages and faults by host and path."""
        with self._lock:
            connections: dict[str, int] = dict(Counter(each.where for each in self._open))
            return {
                "open": len(self._open),
                "accepted": self._accepted,
                "connections": connections,
                "messages": dict(self._messages),
                "struck": dict(self._struck),
            }

    def reset(self) -> None:
        """Forget the counts."""
        with self._lock:
            self._messages.clear()
            self._struck.clear()
            self._accepted = len(self._open)

    def serve(self, channel: socket.socket, head: bytes, call: Call, session: Session) -> None:
        """Upgrade a connection whose request had this head, and serve it until it ends."""
        connection = Connection(channel, call, session, self)
        with self._lock:
            if self._closing or len(self._open) >= _MOST_CONNECTIONS:
                channel.sendall(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                return
            self._open.add(connection)
            self._accepted += 1
        try:
            connection.run(head)
        finally:
            with self._lock:
                self._open.discard(connection)

    def count(self, where: str, messages: int, struck: Iterable[str]) -> None:
        """Add to the counts."""
        with self._lock:
            self._messages[where] += messages
            self._struck.update(f"{kind} {where}" for kind in struck)

    def close(self, patience: float = 2.0) -> None:
        """Tell every client that the server goes away, and wait a little for the threads."""
        with self._lock:
            self._closing = True
            connections = list(self._open)
        for connection in connections:
            connection.stop()
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with self._lock:
                if not self._open:
                    return
            time.sleep(0.01)
        for connection in connections:
            connection.abort()


class Connection:
    """One client."""

    def __init__(self, channel: socket.socket, call: Call, session: Session, streams: Streams) -> None:
        """Not yet upgraded."""
        self.where = f"{call.host}{call.path}"
        self._socket = channel
        self._session = session
        self._streams = streams
        self._world = streams.world
        self._protocol = ServerProtocol(max_size=_LARGEST_REQUEST, logger=_protocol_log)
        self._delivery = Delivery(streams.faults, call.host, call.path, self)
        self._stopping = False
        self._messages = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._fragments: list[bytes] = []
        self._pinged = 0.0

    def stop(self) -> None:
        """End in good order at the next turn."""
        self._stopping = True

    def abort(self) -> None:
        """End at once, whatever its thread waits for."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            _log.debug("already closed")

    def run(self, head: bytes) -> None:
        """Upgrade, then serve until either side ends."""
        try:
            if not self._upgrade(head):
                return
            self._socket.settimeout(_SEND_TIMEOUT)
            self._turn(lambda now: self._session.opened(now))
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            following = time.monotonic() + _PACE
            while True:
                wait = max(0.0, following - time.monotonic())
                if poll.poll(wait * 1000):
                    self._hear()
                if self._stopping:
                    self.close(1001)
                patience = self._session.pong_seconds
                if patience and self._pinged and time.monotonic() - self._pinged > patience:
                    self.close(1008)
                if time.monotonic() >= following:
                    self._turn(self._session.due)
                    self._delivery.release()
                    self._flush()
                    # A slow client gets no faster by being asked more often.
                    following = max(following + _PACE, time.monotonic() + _PACE / 4)
                self._tally()
        except (_Ended, OSError):
            _log.debug("%s: a connection ended", self.where)
        finally:
            self._tally()

    def _upgrade(self, head: bytes) -> bool:
        self._protocol.receive_data(head)
        request = next((event for event in self._protocol.events_received() if isinstance(event, Request)), None)
        if request is None:
            # What the protocol says to what is no request.
            self._write(self._protocol.data_to_send())
            return False
        try:
            response = self._protocol.accept(request)
        except InvalidHandshake as error:
            response = self._protocol.reject(400, f"{error}\n")
        self._protocol.send_response(response)
        self._write(self._protocol.data_to_send())
        return self._protocol.state is State.OPEN

    def _turn(self, said: Callable[[int], Iterable[Message]]) -> None:
        try:
            for message in said(self._world.now()):
                self._delivery.deliver(message)
        except Hangup as hangup:
            self.close(hangup.code)
        self._flush()

    def _hear(self) -> None:
        data = self._socket.recv(_READ)
        if not data:
            raise _Ended
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        self._write(self._protocol.data_to_send())
        if self._protocol.state is not State.OPEN:
            raise _Ended

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._pinged = 0.0
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return  # the protocol answers pings and closings
        self._fragments.append(bytes(frame.data))
        if sum(map(len, self._fragments)) > _LARGEST_REQUEST:
            self.close(1009)
        if frame.fin:
            text, self._fragments = b"".join(self._fragments), []
            self._turn(lambda now: self._session.heard(text, now))

    # ---- the wire

    def send(self, message: Message) -> None:
        """Send a frame."""
        if message.ping:
            self._protocol.send_ping(message.payload)
            self._pinged = self._pinged or time.monotonic()
            for part in self._protocol.data_to_send():
                self._put(part)
            return
        self._messages += 1
        self._put(_frame(message.payload))

    def send_half(self, message: Message) -> None:
        """Send half of a frame and reset the connection."""
        self._flush()
        frame = _frame(message.payload)
        self._write([frame[: len(frame) // 2]])
        raise _Ended

    def drip(self, message: Message, bytes_per_second: int) -> None:
        """Send a frame byte by byte."""
        self._flush()
        self._messages += 1
        frame = _frame(message.payload)
        step = max(1, bytes_per_second // 50)
        for start in range(0, len(frame), step):
            if self._stopping:
                raise _Ended
            self._write([frame[start : start + step]])
            time.sleep(step / bytes_per_second)

    def close(self, code: int) -> None:
        """Say good-bye and end."""
        self._flush()
        self._protocol.send_close(code)
        self._write(self._protocol.data_to_send())
        raise _Ended

    def _put(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._parts:
            parts, self._parts, self._size = self._parts, [], 0
            self._write(parts)

    def _write(self, parts: list[bytes]) -> None:
        data = b"".join(parts)
        if data:
            self._socket.sendall(data)

    def _tally(self) -> None:
        if self._messages or self._delivery.struck:
            self._streams.count(self.where, self._messages, self._delivery.struck)
            self._messages = 0
            self._delivery.struck.clear()


def _frame(payload: bytes) -> bytes:
    """A text frame of a server: not masked, so there is nothing to do but to say its length."""
    length = len(payload)
    if length < 126:
        return b"\x81" + length.to_bytes(1, "big") + payload
    if length < 1 << 16:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload
