"""A Redis of the test's own, that can be killed and started again on the same port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

from coinswarm.connections import Connection
from coinswarm.local import redis
from coinswarm.local.ports import free_ports
from coinswarm.local.programs import running


class OwnRedis:
    """Starts and dies when told; with `durable`, every write is on disk before it is acknowledged, or by `fsync`."""

    def __init__(self, folder: Path, *, durable: bool, maxmemory: str = "512mb", fsync: str = "always") -> None:
        self._folder = folder
        (port,) = free_ports(1)
        password = secrets.token_urlsafe(18)
        redis.write_settings(folder, password, durable=durable)
        with (folder / "redis.conf").open("a") as conf:
            conf.write(f"appendfsync {fsync}\nmaxmemory {maxmemory}\n")
        self.connection = redis.connection(port, password)
        self._stack = contextlib.ExitStack()
        self._process = None

    def start(self) -> None:
        port = self.connection.port or 0
        program = redis.program(self._folder, port, self._folder / "redis.log")
        self._process = self._stack.enter_context(running(program))
        redis.wait_ready(self.connection)

    @property
    def tore_a_transaction(self) -> bool:
        """Whether Redis was killed while it wrote a transaction to its file: then it executes what there is of it, once
        it is started a second time, and entries that were repeated are there twice."""
        return "short read" in (self._folder / "redis.log").read_text(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._stack.close()

    def lose_power(self) -> None:
        """Die as a machine does, without the last second: the most that `appendfsync everysec` leaves in memory."""
        (log,) = (self._folder / "appendonlydir").glob("*.incr.aof")
        on_disk = log.stat().st_size
        time.sleep(1)
        self.kill()
        os.truncate(log, on_disk)


class CuttingProxy:
    """Between a client and Redis; when armed, the next flush still reaches Redis, but its replies reach nobody."""

    def __init__(self, behind: Connection) -> None:
        self.connection = behind
        self.armed = False
        self.cuts = 0
        self._behind = behind

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.connection = replace(self._behind, port=server.sockets[0].getsockname()[1])
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redis_reader, redis_writer = await asyncio.open_connection(self._behind.host, self._behind.port)
        cutting = False

        async def requests() -> None:
            nonlocal cutting
            while data := await reader.read(1 << 20):
                if self.armed and b"XADD" in data:
                    self.armed, cutting = False, True
                redis_writer.write(data)

        async def replies() -> None:
            while data := await redis_reader.read(1 << 20):
                if cutting and b"-0\r\n" in data:  # the ids that XADD gave: it was done
                    self.cuts += 1
                    return
                writer.write(data)

        work = [asyncio.create_task(requests()), asyncio.create_task(replies())]
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in work:
            task.cancel()
        for one in (writer, redis_writer):
            one.transport.abort()


@contextlib.contextmanager
def own_redis(folder: Path, *, durable: bool, maxmemory: str = "512mb", fsync: str = "always") -> Iterator[OwnRedis]:
    server = OwnRedis(folder, durable=durable, maxmemory=maxmemory, fsync=fsync)
    server.start()
    try:
        yield server
    finally:
        server.kill()
