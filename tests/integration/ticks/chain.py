"""Everything between a venue and `raw`, each part a process of its own that can die: venues, pumps, Redis, archive."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tests.integration.conftest import Store
from tests.integration.ingest.connection_file import write_connections
from tests.integration.ticks.pumps import client
from tests.integration.ticks.servers import OwnRedis, own_redis
from tests.integration.ticks.trade_streams import TradeStream
from tests.support import ROOT

from coinswarm.connections import Connection, Resolver
from coinswarm.local.ports import LOOPBACK, free_ports
from coinswarm.local.programs import Program, end_of_log, running
from coinswarm.sandbox.server import is_listening
from coinswarm.sources import SOURCES
from coinswarm.ticks.shards import shard_names

_TRADED_MS = 5_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def wait_for(condition: Callable[[], Any], what: Callable[[], str], seconds: float = 90) -> None:
    """Wait for something that happens in another process; `what` is asked when it did not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what()}"
        time.sleep(0.05)


class Part:
    """One process: it starts, ends in order, or is killed."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._stack = ExitStack()
        self._process: Any = None

    def start(self) -> None:
        self._program.log.unlink(missing_ok=True)
        self._process = self._stack.enter_context(running(self._program))

    def stop(self) -> int:
        """Its exit code."""
        self._stack.close()
        return 0 if self._process is None else int(self._process.returncode)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stack.close()

    @property
    def said(self) -> list[str]:
        """What it has printed since its start."""
        return self._program.log.read_text(errors="replace").splitlines()

    @property
    def last_words(self) -> str:
        return end_of_log(self._program.log, 3000)


@dataclass(frozen=True)
class Chain:
    """`url` is that of all venues; connections of the others by `resolve`."""

    url: str
    redis: OwnRedis
    pump: Part
    archive: Part
    resolve: Resolver

    def pump_dies(self) -> None:
        self.pump.kill()
        self.pump.start()

    def redis_dies(self) -> None:
        self.redis.lose_power()
        self.redis.start()

    def archive_dies(self) -> None:
        self.archive.kill()
        self.archive.start()

    def wait_until_live(self) -> None:
        """Until each shard writes."""
        everyone = set(shard_names())
        wait_for(lambda: self._live() == everyone, lambda: f"{everyone - self._live()} live\n{self.pump.last_words}")

    def _live(self) -> set[str]:
        lines = (json.loads(line) for line in self.pump.said if line.startswith("{") and line.endswith("}"))
        return {line["shard"] for line in lines if line["state"] == "live"}

    def wait_until_traded(self, streams: Sequence[TradeStream]) -> None:
        """Until all streams have spoken that have a trade in the next seconds: some markets rest for a minute."""
        since = now_ms()
        until = since + _TRADED_MS
        wait_for(lambda: now_ms() >= until, lambda: "the clock")
        due = {one.latest_key for one in streams if self.control("ticks", **one.query, start=since, end=until)["count"]}
        assert due
        with client(self.redis.connection) as redis_client:

            def silent() -> set[str]:
                return {key for key in due if int(redis_client.hget(key, "recv") or 0) <= since}

            wait_for(lambda: not silent(), lambda: f"a trade in {silent()}")

    def control(self, path: str, **query: Any) -> Any:
        """What the venues' other side says."""
        answer = requests.get(f"{self.url}/_control/{path}", params=query, timeout=30)
        assert answer.ok, answer.text
        return answer.json()

    def spoil(self, rule: dict[str, Any]) -> None:
        """Put a stream fault in force."""
        assert requests.post(f"{self.url}/_control/stream_faults", json=rule, timeout=30).ok

    def heal(self) -> None:
        """No stream fault is in force any more."""
        assert requests.delete(f"{self.url}/_control/stream_faults", timeout=30).ok


@contextmanager
def chain(store: Store, folder: Path) -> Iterator[Chain]:
    """Venues and Redis are up; pump and archive wait for their start."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    venues = Part(_python("venues", folder, "coinswarm.sandbox", "simulate", "--port", str(port)))
    with ExitStack() as stack:
        redis = stack.enter_context(own_redis(_made(folder / "redis"), durable=True, fsync="everysec"))
        resolve = _with_redis(store.resolver(url), redis.connection)
        ids = ("pg_ingest", "s3_lake", "redis_ticks", *(spec.connection_id for spec in SOURCES.values()))
        known = write_connections(folder, resolve, ids)
        pump = Part(_python("pump", folder, "coinswarm", "ticks", "run", "--json", env=known))
        archive = Part(_python("archive", folder, "tests.integration.ticks.archiving", env=known))
        venues.start()
        stack.callback(venues.stop)
        wait_for(lambda: is_listening(LOOPBACK, port), lambda: f"the venues\n{venues.last_words}")
        stack.callback(archive.stop)
        stack.callback(pump.stop)
        yield Chain(url, redis, pump, archive, resolve)


def _python(name: str, folder: Path, *module: str, env: dict[str, str] | None = None) -> Program:
    return Program(name, (sys.executable, "-m", *module), ROOT, folder / f"{name}.log", env or {})


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _with_redis(known: Resolver, redis: Connection) -> Resolver:
    return lambda conn_id: redis if conn_id == "redis_ticks" else known(conn_id)
