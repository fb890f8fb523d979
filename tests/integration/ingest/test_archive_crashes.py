"""The archive killed at any moment, and Redis killed under it: the next run loses nothing and doubles nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Store
from tests.integration.dying import wait_until_forgotten
from tests.integration.ingest.connection_file import write_connections
from tests.integration.ingest.doomed_archive import MOMENTS
from tests.integration.ingest.test_archive import book
from tests.integration.ingest.ticks import Ticks, recent_minute, trades
from tests.support import ROOT

from coinswarm.errors import StoreUnavailable
from coinswarm.ingest.archive import archive
from coinswarm.local import redis as redis_server
from coinswarm.local.ports import free_ports
from coinswarm.local.programs import running
from coinswarm.storage import database, ledger
from coinswarm.storage.lake import Lake

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[Any, ...]]]
SPOT = "trades:BTC-USDT"
BOOK = "orderbook:BTC-USDT:snapshot"
EACH = 40
# Where the batches had landed before the end, so that the next run completes them: how many.
RESUMED = {
    "entries taken, nothing landed": 0,
    "first batch landed, not listed": 0,
    "first batch listed, not committed": 0,
    "acknowledged, not noted": 2,
    "books published, group not moved": 0,
    "bars staged": 0,
    "bars published, not noted": 0,
}


@pytest.fixture(scope="module")
def doomed(ticks: Ticks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], int]]:
    """Lets a process archive, which ends at a moment; returns its exit code."""
    known = write_connections(tmp_path_factory.mktemp("doomed"), ticks.resolve, ("pg_ingest", "s3_lake", "redis_ticks"))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.ingest.doomed_archive"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, **known},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        pipes = process.stdin, process.stdout

        def die(moment: str) -> int:
            print(moment, file=pipes[0], flush=True)
            return int(pipes[1].readline())

        yield die
        process.stdin.close()


@pytest.mark.parametrize("moment", MOMENTS)
def test_archive_when_killed_then_the_next_run_completes_it(
    moment: str, doomed: Callable[[str], int], store: Store, ticks: Ticks, query: Query
) -> None:
    first = 1_000 * (list(MOMENTS).index(moment) + 1)
    numbers = range(first, first + EACH)
    start = recent_minute(8) - timedelta(minutes=20 * list(MOMENTS).index(moment))
    ticks.write(SPOT, *trades(numbers, start), *trades(numbers, start, venue="okx"))
    ticks.write(BOOK, book("binance", recent_minute(2), "98"))

    assert doomed(moment) == -signal.SIGKILL
    wait_until_forgotten(store.warehouse.auditor)
    columns = "source, count(*), count(DISTINCT trade_id)"
    held = f"SELECT {columns} FROM raw.trades WHERE trade_id = ANY(%s) GROUP BY 1 ORDER BY 1"
    ids = [str(number) for number in numbers]
    assert all(rows == EACH for _, rows, _ in query(held, ids))

    done = archive(ticks.resolve)
    # Two batches are worked on at a time: the other one may have been acknowledged, or not.
    assert done.resumed in ((1, 2) if moment.startswith("second") else (RESUMED.get(moment, 2),))
    assert query(held, ids) == [("binance", EACH, EACH), ("okx", EACH, EACH)]
    counted = "SELECT source, trade_count FROM raw.trade_bars WHERE symbol = 'BTC-USDT' AND event_at = %s ORDER BY 1"
    assert query(counted, start) == [("binance", EACH), ("okx", EACH)]
    assert (ticks.pending(SPOT), ticks.unread(SPOT), ticks.pending(BOOK)) == (0, 0, 0)
    assert query("SELECT count(*) FROM raw.order_books") == query(
        "SELECT count(DISTINCT event_at) FROM raw.order_books"
    )
    assert query("SELECT count(*) FROM ops.stream_gaps") == [(0,)]
    for dataset in ("trades", "order_books", "trade_bars"):
        assert query(f"SELECT count(*) FROM staging.{dataset}") == [(0,)]
    with database.connect(store.warehouse.auditor) as connection:
        ledger.verify(connection, lake=Lake(store.lake))
    again = archive(ticks.resolve)
    assert (again.entries, again.resumed, again.inserted) == (0, 0, 0)


def test_archive_when_redis_is_killed_and_started_again_then_goes_on(ticks: Ticks, query: Query) -> None:
    folder = Path(tempfile.mkdtemp(prefix="coinswarm-redis-"))
    (port,) = free_ports(1)
    redis_server.write_settings(folder, "of-this-test")
    connection = redis_server.connection(port, "of-this-test")
    program = replace(redis_server.program(folder, port, folder / "redis.log"), stop_signal=signal.SIGKILL)
    own = Ticks(connection, lambda conn_id: connection if conn_id == "redis_ticks" else ticks.resolve(conn_id))
    numbers = range(900_000, 900_000 + EACH)
    with ExitStack() as stack:
        stack.enter_context(running(program))
        redis_server.wait_ready(connection)
        own.write(SPOT, *trades(numbers[:10], recent_minute()))
        assert archive(own.resolve).inserted == 10
        own.write(SPOT, *trades(numbers[10:], recent_minute()))
        own.redis.xreadgroup("archive", "archive", {SPOT: ">"}, count=5)
        # What Redis has not written to its file yet is lost with it, and is the pump's to notice.
        assert own.redis.waitaof(1, 0, 10_000)[0] == 1
    with pytest.raises(StoreUnavailable):
        archive(own.resolve)
    with running(program):
        redis_server.wait_ready(connection)
        done = archive(own.resolve)
        assert (done.inserted, done.missed, own.pending(SPOT), own.unread(SPOT)) == (EACH - 10, 0, 0, 0)
    rows = query("SELECT count(*), count(DISTINCT trade_id) FROM raw.trades WHERE length(trade_id) = 6")
    assert rows == [(EACH, EACH)]
