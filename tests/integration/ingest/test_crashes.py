"""A worker killed at any moment of any step, a backfill killed in a chunk, PostgreSQL and the lake gone in the middle:
nothing is half visible, and the same batch run again completes with nothing lost or doubled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.integration.conftest import Store
from tests.integration.ingest.connection_file import write_connections
from tests.integration.ingest.doomed import BARS_PER_CHUNK, MOMENTS
from tests.support import ROOT

from coinswarm.batches import Batch
from coinswarm.connections import Connection, Resolver
from coinswarm.errors import StoreUnavailable
from coinswarm.ingest import backfill, pipeline
from coinswarm.ingest.plan import batch_of, feed_named
from coinswarm.local import postgres, s3
from coinswarm.local.ports import free_ports
from coinswarm.local.programs import Program
from coinswarm.local.programs import running as program_running
from coinswarm.quality import gate
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import source_named
from coinswarm.storage import database, ledger, manifest
from coinswarm.storage import publish as publishing
from coinswarm.storage.lake import Lake
from coinswarm.timeframes import Window

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[object, ...]]]
NOW = datetime(2026, 6, 2, tzinfo=UTC)
SYMBOLS = ("BTC-USDT", "BTC-USDT-PERP")
HOURS = 12
# What the second run has to ask for again, of two requests, where it is not nothing.
ASKED_AGAIN = {"second answer landed, not listed": 1, "first answer listed": 1}


def _batch(day: int) -> Batch:
    spec = source_named("binance")
    start = NOW - timedelta(days=50 - day)
    window = Window(start, start + timedelta(hours=HOURS))
    return batch_of(
        spec, feed_named(spec, "ohlcv_1h"), window, dag_id="ingest__binance__1h", run_id=f"day {day}", symbols=SYMBOLS
    )


BATCHES = {moment: _batch(day) for day, moment in enumerate(MOMENTS)}
BACKFILL = {
    "start": "2026-01-01",
    "end": "2026-01-06",
    "run_id": "resumed",
    "symbols": ["BTC-USDT"],
}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with running(clock=Clock(NOW)) as url:
        yield url


@pytest.fixture(scope="module")
def resolve(store: Store, provider: str) -> Resolver:
    return store.resolver(provider)


@pytest.fixture(scope="module")
def killed(resolve: Resolver, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Exit codes of the processes that were to die, by moment; the backfill's is under its run's name."""
    orders: list[dict[str, Any]] = [{"moment": moment, "batch": batch.to_json()} for moment, batch in BATCHES.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.ingest.doomed"],
        input=json.dumps([{"batch": _batch(19).to_json()}, *orders, BACKFILL]),
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, **write_connections(tmp_path_factory.mktemp("killed"), resolve)},
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout)
    assert codes == [-signal.SIGKILL] * len(codes), done.stderr
    return dict(zip([*MOMENTS, str(BACKFILL["run_id"])], codes, strict=True))


def _requests(url: str) -> int:
    return int(requests.get(f"{url}/_control/state", timeout=5).json()["total"])


def _verify(auditor: Connection, lake: Connection) -> None:
    with database.connect(auditor) as connection:
        report = ledger.verify(connection, dataset="ohlcv", lake=Lake(lake))
    assert report.objects > 0


@pytest.mark.parametrize("moment", MOMENTS)
def test_worker_when_killed_then_nothing_is_half_visible_and_the_same_batch_completes(
    moment: str, killed: dict[str, int], store: Store, resolve: Resolver, provider: str, query: Query
) -> None:
    batch = BATCHES[moment]
    identity = str(batch.batch_id)
    visible = query("select count(*) from raw.ohlcv where batch_id = %s", identity)
    entries = query("select staged_count, inserted_count from ops.batches where batch_id = %s", identity)
    if moment == "published":
        assert (visible, entries) == ([(2 * HOURS,)], [(2 * HOURS, 2 * HOURS)])
    else:
        assert (visible, entries) == ([(0,)], [])
        assert query("select * from ops.lake_objects where batch_id = %s and kind = 'parquet'", identity) == []

    before = _requests(provider)
    result = pipeline.run(batch, resolve)
    assert pipeline.run(batch, resolve) == result
    assert _requests(provider) - before == ASKED_AGAIN.get(moment, 0)

    assert result["inserted"] == result["staged"] == 2 * HOURS
    assert query(
        "select symbol, count(*), count(distinct event_at), min(event_at), max(event_at) from raw.ohlcv"
        " where timeframe = '1h' and event_at >= %s and event_at < %s group by 1 order by 1",
        batch.window.start,
        batch.window.start + timedelta(days=1),
    ) == [(s, HOURS, HOURS, batch.window.start, batch.window.end - timedelta(hours=1)) for s in SYMBOLS]
    assert query("select * from quarantine.records where batch_id = %s", identity) == []
    assert query("select count(*) from staging.ohlcv where batch_id = %s", identity) == [(0,)]
    assert query("select kind, count(*) from ops.lake_objects where batch_id = %s group by 1 order by 1", identity) == [
        ("landing", 2),
        ("parquet", 1),
    ]
    _verify(store.warehouse.auditor, store.lake)


def test_backfill_when_killed_in_a_chunk_then_the_same_run_goes_on_there_and_asks_nothing_twice(
    killed: dict[str, int],
    resolve: Resolver,
    provider: str,
    query: Query,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backfill, "SLOTS_PER_CHUNK", BARS_PER_CHUNK)
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def chunks() -> list[backfill.Chunk]:
        return backfill.plan(
            "binance",
            "ohlcv",
            Window(start, start + timedelta(days=5)),
            run_id=str(BACKFILL["run_id"]),
            resolve=resolve,
            symbols=SYMBOLS[:1],
            timeframe="1h",
        )

    planned = chunks()
    assert [chunk.done for chunk in planned] == [True, True, False, False, False]
    count = "select count(*)::int from raw.ohlcv where symbol = 'BTC-USDT' and event_at >= %s and event_at < %s"
    window = (start, start + timedelta(days=5))
    assert query(count, *window) == [(2 * BARS_PER_CHUNK,)]

    before = _requests(provider)
    states = list(backfill.work(planned, resolve))
    # The third chunk's answer had landed before the process died in its COPY.
    assert _requests(provider) - before == 2
    assert [(state.number, state.total) for state in states] == [(3, 5), (4, 5), (5, 5)]
    assert [(state.published or {}).get("inserted") for state in states] == [BARS_PER_CHUNK] * 3
    assert query(count, *window) == [(5 * BARS_PER_CHUNK,)]
    assert all(chunk.done for chunk in chunks())
    assert list(backfill.work(chunks(), resolve)) == []


@dataclass
class OwnServers:
    """A PostgreSQL and an S3 server of this module alone, which its tests may stop."""

    folder: Path
    owner: Connection
    lake: Connection
    programs: dict[str, Program]
    stacks: dict[str, ExitStack]
    processes: dict[str, Any]

    def start(self, name: str) -> None:
        """Start, and wait until it answers."""
        stack = self.stacks[name] = ExitStack()
        self.processes[name] = stack.enter_context(program_running(self.programs[name]))
        if name == "postgres":
            postgres.wait_ready(self.owner, log=self.folder / "postgres.log")
        else:
            s3.wait_ready(self.lake, log=self.folder / "s3.log")

    def stop(self, name: str) -> None:
        """Stop at once, as a power cut would."""
        self.stacks[name].close()


@pytest.fixture(scope="module")
def own() -> Iterator[OwnServers]:
    from coinswarm.storage.migrate import migrate

    folder = Path(tempfile.mkdtemp(prefix="coinswarm-crashes-"))
    folder.chmod(0o711)
    (port,) = free_ports(1)
    ports = s3.S3Ports(*free_ports(5))
    password = "of-this-test"
    postgres.create_cluster(folder / "postgres", password)
    s3.write_settings(folder / "s3", "access", password)
    owner = postgres.superuser(port, password)
    servers = OwnServers(
        folder,
        owner,
        s3.connection(ports.s3, "access", password),
        {
            "postgres": replace(
                postgres.program(folder / "postgres", port, folder / "postgres.log"), stop_signal=signal.SIGQUIT
            ),
            "s3": replace(s3.program(folder / "s3", ports, folder / "s3.log"), stop_signal=signal.SIGKILL),
        },
        {},
        {},
    )
    try:
        servers.start("postgres")
        servers.start("s3")
        migrate(replace(owner, schema="warehouse").dsn)
        for role in ("ingest", "auditor"):
            postgres.set_password(owner, role, password)
        yield servers
    finally:
        for stack in servers.stacks.values():
            stack.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def own_resolve(own: OwnServers, store: Store, provider: str) -> Resolver:
    shared = store.resolver(provider)

    def resolve(conn_id: str) -> Connection:
        if conn_id == "s3_lake":
            return own.lake
        if conn_id.startswith("pg_"):
            return replace(
                own.owner, conn_id=conn_id, login=conn_id[3:], password=own.owner.password, schema="warehouse"
            )
        return shared(conn_id)

    return resolve


# A server stops while this function is about to be called for the n-th time.
STOPS = {
    "postgres while landing": ("postgres", manifest, "record", 2),
    "postgres in the COPY": ("postgres", pipeline, "parse_payload", 2),
    "postgres before the gate's checks": ("postgres", gate, "validate", 1),
    "postgres in the gate": ("postgres", gate, "_store", 1),
    "postgres in the publish": ("postgres", publishing, "_clear_staging", 1),
    "lake while landing": ("s3", Lake, "land", 2),
    "lake while loading": ("s3", Lake, "landed", 2),
    "lake in the publish": ("s3", Lake, "put", 3),
}


@pytest.mark.parametrize("stop", STOPS)
def test_batch_when_a_server_stops_in_the_middle_then_says_so_and_completes_after_its_restart(
    stop: str, own: OwnServers, own_resolve: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, where, name, number = STOPS[stop]
    batch = _batch(20 + list(STOPS).index(stop))
    original, calls = getattr(where, name), 0

    def stopping(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            own.stop(server)
        return original(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(where, name, stopping)
        try:
            with pytest.raises(StoreUnavailable) as raised:
                pipeline.run(batch, own_resolve)
        finally:
            own.start(server)
    assert calls >= number
    assert own.owner.password not in str(raised.value)

    auditor = own_resolve("pg_auditor")
    with database.connect(auditor) as connection:
        assert publishing.stored_result(connection, batch) is None
    published = _run_with_retries(batch, own_resolve)
    assert published["inserted"] == published["staged"] == 2 * HOURS
    _verify(auditor, own.lake)


def _run_with_retries(batch: Batch, resolve: Resolver) -> dict[str, Any]:
    # As the task would: a restarted lake takes writes some seconds before it finds everything again.
    for _ in range(30):
        try:
            return pipeline.run(batch, resolve)
        except StoreUnavailable:
            time.sleep(0.5)
    return pipeline.run(batch, resolve)
