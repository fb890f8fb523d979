"""One socket to Redis: bytes out, parsed replies in, no command of its own but the login."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import hiredis

from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable
from coinswarm.ticks.resp import command, wire

Replies = list[Any]


class RedisFailure(StoreUnavailable):
    """Redis does not answer, refuses the login, or the connection broke."""


class RedisLink(asyncio.Protocol):
    """A connection with one open request at a time. A command's error is a `ReplyError` among the replies."""

    def __init__(self, on_lost: Callable[[RedisLink], None] = lambda _: None) -> None:
        self._on_lost = on_lost
        self._reader = hiredis.Reader(replyError=self._error)
        self._transport: asyncio.Transport | None = None
        self._replies: Replies = []
        self._missing = 0
        self._done: Callable[[Replies], None] | None = None
        self._patience: float | None = None
        self.errors = 0
        """How many replies were errors, nested ones included: saves looking at each."""
        self.lost = asyncio.Event()

    async def open(self, connection: Connection, name: str, seconds: float) -> None:
        """Connect and log in; no later answer may take longer than `seconds` either.

        Raises:
            RedisFailure: it did not work in time; the message holds no password.
        """
        self._patience = seconds
        secure = ssl.create_default_context() if connection.extra.get("ssl") else None
        where = f"{connection.conn_id} ({connection.host}:{connection.port or 6379})"
        try:
            async with asyncio.timeout(seconds):
                await asyncio.get_running_loop().create_connection(
                    lambda: self, connection.host, connection.port or 6379, ssl=secure
                )
                greeting = [command("CLIENT", "SETNAME", name), command("SELECT", connection.schema or "0")]
                if connection.password:
                    login = (connection.login, connection.password) if connection.login else (connection.password,)
                    greeting.insert(0, command("AUTH", *login))
                replies = await self.ask(wire(greeting), len(greeting))
        except (OSError, TimeoutError) as error:
            self.close()
            raise RedisFailure(f"{where}: {str(error) or type(error).__name__}") from None
        except asyncio.CancelledError:
            self.close()
            raise
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                self.close()
                raise RedisFailure(f"{where}: {reply}")

    def send(self, payload: bytes, replies: int, done: Callable[[Replies], None]) -> None:
        """Write a request; `done` is called with its replies, or never if the connection breaks before."""
        if self._missing:
            raise RuntimeError("a request is open already")
        if self._transport is None:
            raise RedisFailure("the connection to Redis is closed")
        self._missing, self._done = replies, done
        self._transport.write(payload)

    async def ask(self, payload: bytes, replies: int) -> Replies:
        """As `send`, waiting for the replies, as long as for the connection.

        Raises:
            RedisFailure: the connection broke, or no reply came in time.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.send(payload, replies, lambda got: None if answer.done() else answer.set_result(got))
        lost: asyncio.Future[Any] = asyncio.ensure_future(self.lost.wait())
        try:
            await asyncio.wait((answer, lost), timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            lost.cancel()
        if not answer.done():
            broke = self.lost.is_set()
            self.close()
            raise RedisFailure("the connection to Redis broke" if broke else "Redis does not answer")
        got: Replies = answer.result()
        return got

    def close(self) -> None:
        """Drop the connection at once, unsent bytes included."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None
        self.lost.set()

    def _error(self, text: str) -> Exception:
        self.errors += 1
        return hiredis.ReplyError(text)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is there."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - TCP and TLS give no other
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes from Redis."""
        reader, replies = self._reader, self._replies
        try:
            reader.feed(data)
            while self._missing:
                reply = reader.gets()
                if reply is False:
                    return
                replies.append(reply)
                self._missing -= 1
        except hiredis.ProtocolError:
            self.close()
            return
        self._replies = []
        done, self._done = self._done, None
        if done is not None:
            done(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._transport = None
        self._done = None
        self.lost.set()
        with contextlib.suppress(RuntimeError):  # the loop is closing
            self._on_lost(self)
