"""A worker that is killed at any step, a database or a lake that goes away: run again, nothing is lost or doubled."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.dying import wait_until_forgotten
from tests.integration.storage.batches import bar, closes, new_batch, staged
from tests.integration.storage.worker import ROWS, work
from tests.support import ROOT

from coinswarm.batches import Batch
from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable
from coinswarm.local import postgres, s3
from coinswarm.local.ports import free_ports
from coinswarm.local.programs import running
from coinswarm.storage.database import connect
from coinswarm.storage.lake import Lake
from coinswarm.storage.ledger import verify
from coinswarm.storage.migrate import migrate
from coinswarm.storage.publish import publish, stored_result

pytestmark = pytest.mark.integration

STEPS = (
    "landed",
    "listed",
    "staging",
    "staged",
    "partitions",
    "parquet",
    "parquet stored",
    "rows inserted",
    "staging cleared",
    "ledger written",
    "published",
)


def _killed(
    ingest: Connection, lake: Connection, batch: Batch, symbol: str, step: str
) -> subprocess.CompletedProcess[str]:
    def fields(conn: Connection) -> dict[str, object]:
        return {name: getattr(conn, name) for name in ("host", "port", "login", "password", "schema")}

    order = {"ingest": fields(ingest), "lake": fields(lake), "batch": batch.to_json(), "symbol": symbol, "step": step}
    return subprocess.run(
        [sys.executable, "-m", "tests.integration.storage.worker"],
        input=json.dumps(order),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("step", STEPS)
def test_worker_when_killed_then_nothing_is_half_visible_and_the_next_run_completes(warehouse, lake_connection, step):
    batch, symbol = new_batch(), f"KILL-{STEPS.index(step)}"
    killed = _killed(warehouse.ingest, lake_connection, batch, symbol, step)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    wait_until_forgotten(warehouse.auditor)
    with connect(warehouse.ingest, autocommit=True) as conn:
        whole = step == "published"
        assert len(closes(conn, symbol)) == (ROWS if whole else 0)
        assert (stored_result(conn, batch) is not None) is whole

    done = work(warehouse.ingest, lake_connection, batch, symbol)
    assert work(warehouse.ingest, lake_connection, batch, symbol) == done
    assert done.inserted == ROWS
    with connect(warehouse.auditor, autocommit=True) as conn:
        assert closes(conn, symbol) == [str(number + 1) for number in range(ROWS)]
        counts = conn.execute(
            "SELECT (SELECT count(*) FROM raw.ohlcv WHERE symbol = %s), (SELECT count(*) FROM staging.ohlcv),"
            " (SELECT count(*) FROM ops.lake_objects WHERE batch_id = %s)",
            [symbol, batch.batch_id],
        ).fetchone()
        assert counts == (ROWS, 0, 2)
        verify(conn, lake=Lake(lake_connection))


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="coinswarm-recovery-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_publish_when_postgresql_stops_in_the_middle_then_completes_after_the_restart(folder, lake, monkeypatch, how):
    from coinswarm.storage import publish as module

    (port,) = free_ports(1)
    postgres.create_cluster(folder / "postgres", "secret-of-a-test")
    owner = postgres.superuser(port, "secret-of-a-test")
    program = replace(postgres.program(folder / "postgres", port, folder / "log"), stop_signal=how)
    warehouse = replace(owner, schema="warehouse")
    ingest = replace(warehouse, conn_id="pg_ingest", login="ingest", password="ingest-of-a-test")
    clear = module._clear_staging
    with running(program) as server:
        postgres.wait_ready(owner, log=folder / "log")
        migrate(warehouse.dsn)
        postgres.set_password(owner, "ingest", "ingest-of-a-test")

        def stop(*_):
            server.send_signal(how)
            server.wait(30)
            raise ConnectionError

        with connect(ingest, autocommit=True) as conn:
            batch = staged(conn, [bar(str(n + 1), minute=n) for n in range(100)])
            monkeypatch.setattr(module, "_clear_staging", stop)
            with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the driver makes of a vanished server
                publish(conn, lake, batch)
    monkeypatch.setattr(module, "_clear_staging", clear)
    with pytest.raises(StoreUnavailable):
        connect(ingest)
    with running(program):
        postgres.wait_ready(owner, log=folder / "log")
        with connect(ingest, autocommit=True) as conn:
            assert closes(conn) == []
            assert publish(conn, lake, batch).inserted == 100
            assert len(closes(conn)) == 100
        with connect(warehouse, autocommit=True) as conn:
            verify(conn, lake=lake)


def test_publish_when_the_lake_is_down_then_nothing_is_published_until_it_is_back(folder, warehouse):
    ports = s3.S3Ports(*free_ports(5))
    s3.write_settings(folder / "s3", "access", "secret-of-a-test")
    there = s3.connection(ports.s3, "access", "secret-of-a-test")
    program = replace(
        s3.program(folder / "s3", ports, folder / "log"), stop_signal=signal.SIGKILL
    )  # a graceful end is slow
    with connect(warehouse.ingest, autocommit=True) as conn:
        batch = staged(conn, [bar("3", symbol="S3")])
        with running(program):
            s3.wait_ready(there, log=folder / "log")
        with pytest.raises(StoreUnavailable, match="lake"):
            publish(conn, Lake(there), batch)
        assert closes(conn, "S3") == []
        assert stored_result(conn, batch) is None
        with running(program):
            s3.wait_ready(there, log=folder / "log")
            assert publish(conn, Lake(there), batch).inserted == 1
    with connect(warehouse.auditor, autocommit=True) as conn:
        assert closes(conn, "S3") == ["3"]
