"""A Redis of the test's own, that can be killed and started again on the same port."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

from coinswarm.local import redis
from coinswarm.local.ports import free_ports
from coinswarm.local.programs import running


class OwnRedis:
    """Starts and dies when told; with `durable`, every write is on disk before it is acknowledged."""

    def __init__(self, folder: Path, *, durable: bool, maxmemory: str = "512mb") -> None:
        self._folder = folder
        (port,) = free_ports(1)
        password = secrets.token_urlsafe(18)
        redis.write_settings(folder, password, durable=durable)
        with (folder / "redis.conf").open("a") as conf:
            conf.write(f"appendfsync always\nmaxmemory {maxmemory}\n")
        self.connection = redis.connection(port, password)
        self._stack = contextlib.ExitStack()
        self._process = None

    def start(self) -> None:
        port = self.connection.port or 0
        program = redis.program(self._folder, port, self._folder / "redis.log")
        self._process = self._stack.enter_context(running(program))
        redis.wait_ready(self.connection)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._stack.close()


@contextlib.contextmanager
def own_redis(folder: Path, *, durable: bool, maxmemory: str = "512mb") -> Iterator[OwnRedis]:
    server = OwnRedis(folder, durable=durable, maxmemory=maxmemory)
    server.start()
    try:
        yield server
    finally:
        server.kill()
