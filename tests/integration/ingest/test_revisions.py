"""A bar that its venue restates: the past stays byte for byte what it was, the present shows the new value, the proof
holds, and one byte changed behind the store's back is found."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pyarrow as pa
import pytest
import requests
from psycopg import sql
from tests.conftest import ROLES, Warehouse
from tests.integration.conftest import Store
from tests.integration.ingest.connection_file import write_connections
from tests.support import ROOT

from coinswarm.clients import PlannerData
from coinswarm.connections import Resolver
from coinswarm.ingest import backfill
from coinswarm.orchestration.marts import build_marts
from coinswarm.sandbox.server import running
from coinswarm.storage import database
from coinswarm.timeframes import Window, floor

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[object, ...]]]
DAY = timedelta(days=1)
STEP = timedelta(hours=8)
END = floor(datetime.now(UTC), DAY)
START = END - 20 * DAY
# Of yesterday, so that the rebuild of `verify`, which looks at the last days, has it as well.
REVISED = END - STEP
RESTATED = "1007.5"
HEADER = ("time", "exchange", "crypto", "pair", "contract", "open", "high", "low", "close", "volume", "funding rate")
PAIRS = {"BTC/USDT": "spot", "BTCUSDT": "perpetual"}


def _history(path: Path) -> None:
    """Twenty days of made-up bars and funding of one venue, in the form of the recorded history."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number in range((END - START) // STEP):
            time = (START + number * STEP).astimezone(ZoneInfo("Europe/London")).strftime("%Y-%m-%d %H:%M:%S")
            close = 1000 + (number * 7) % 5
            for pair, contract in PAIRS.items():
                rate = f"{0.0001 * (1 if number % 4 else -1):.4f}" if contract == "perpetual" else ""
                writer.writerow([time, "binance", "bitcoin", pair, contract, 1000, 1020, 980, close, 12.5, rate])


@dataclass(frozen=True)
class Story:
    """What was seen while one bar went from A to B and back to A."""

    resolve: Resolver
    original: Decimal
    asked_at: datetime
    before: bytes
    later: bytes
    now: bytes
    runs: tuple[dict[str, int], ...]


def _backfill(resolve: Resolver, run_id: str) -> dict[str, int]:
    totals = {"inserted": 0, "revised": 0}
    for dataset, timeframe, symbols in (
        ("ohlcv", "8h", ("BTC-USDT", "BTC-USDT-PERP")),
        ("funding_rates", "", ("BTC-USDT-PERP",)),
    ):
        chunks = backfill.plan(
            "binance",
            dataset,
            Window(START, END),
            run_id=run_id,
            resolve=resolve,
            symbols=symbols,
            timeframe=timeframe,
        )
        for state in backfill.work(chunks, resolve):
            for name in totals:
                totals[name] += (state.published or {}).get(name, 0)
    return totals


def _features(resolve: Resolver, as_of: datetime | None) -> bytes:
    table = PlannerData(resolve("pg_planner")).get_features(
        symbols=["BTC-USDT"],
        sources=["price", "funding"],
        window_days=10,
        granularity="1d",
        end=END,
        as_of=as_of,
        output="arrow",
    )
    assert isinstance(table, pa.Table)
    assert table.num_rows == 10
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _closes(frame: bytes) -> list[float]:
    table = pa.ipc.open_stream(frame).read_all()
    return [float(value) for value in table.column("close").to_pylist()]


@pytest.fixture(scope="module")
def dbt_target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dbt")


@pytest.fixture(scope="module")
def story(store: Store, query: Query, dbt_target: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    history = tmp_path_factory.mktemp("history") / "history.csv"
    _history(history)
    transform = store.warehouse.transform
    with running("replay", replay_csv=history) as url:
        resolve = store.resolver(url)
        runs = [_backfill(resolve, "one")]
        ((original,),) = query(
            "select close from raw.ohlcv_current where symbol = 'BTC-USDT' and event_at = %s", REVISED
        )
        build_marts(transform, target_dir=dbt_target)
        asked_at = datetime.now(UTC)
        before = _features(resolve, asked_at)

        bar = {"venue": "binance", "market": "spot", "symbol": "BTCUSDT", "minutes": 480, "at": REVISED.isoformat()}
        answer = requests.post(f"{url}/_control/revise", json={**bar, "field": "close", "value": RESTATED}, timeout=5)
        answer.raise_for_status()
        runs.append(_backfill(resolve, "two"))
        build_marts(transform, target_dir=dbt_target)
        later, now = _features(resolve, asked_at), _features(resolve, None)

        requests.delete(f"{url}/_control/revise", timeout=5).raise_for_status()
        runs.append(_backfill(resolve, "three"))
        assert isinstance(original, Decimal)
        yield Story(resolve, original, asked_at, before, later, now, tuple(runs))


def test_features_when_a_bar_is_restated_then_as_of_before_is_the_same_bytes(story: Story) -> None:
    assert story.later == story.before
    assert _closes(story.before)[-1] == float(1000 + (59 * 7) % 5)


def test_features_when_a_bar_is_restated_then_now_has_the_new_value(story: Story) -> None:
    assert _closes(story.now)[:-1] == _closes(story.before)[:-1]
    assert _closes(story.now)[-1] == float(RESTATED)


def test_raw_when_a_bar_goes_to_b_and_back_to_a_then_has_three_revisions_and_nothing_else_grew(
    story: Story, query: Query
) -> None:
    bars = len(PAIRS) * ((END - START) // STEP)
    assert story.runs[0] == {"inserted": bars + bars // 2, "revised": 0}
    assert story.runs[1:] == ({"inserted": 1, "revised": 1},) * 2
    revisions = query(
        "select close from raw.ohlcv where symbol = 'BTC-USDT' and event_at = %s order by known_at", REVISED
    )
    assert revisions == [(story.original,), (Decimal(RESTATED),), (story.original,)]
    assert query("select count(*)::int from raw.ohlcv") == [(bars + 2,)]


@pytest.fixture(scope="module")
def command(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    folder = tmp_path_factory.mktemp("command")
    # A copy of the project: its cache is then not that of a platform that runs from this folder.
    shutil.copytree(ROOT / "dbt_project", folder / "dbt", ignore=shutil.ignore_patterns("target", "logs"))
    environment = {
        **os.environ,
        **write_connections(folder, story.resolve),
        "COINSWARM_DBT_PROJECT": str(folder / "dbt"),
    }

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "coinswarm", *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            timeout=240,
            check=False,
        )

    return run


def test_verify_when_nothing_was_touched_then_passes_with_rebuilt_marts(
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = command("verify", "--lake", "--json")
    assert done.returncode == 0, done.stderr
    assert '"dataset": "ohlcv"' in done.stdout
    assert '"mart": "planner_features"' in done.stdout


def test_verify_when_a_superuser_changed_one_byte_then_fails_and_names_the_batch(
    command: Callable[..., subprocess.CompletedProcess[str]], warehouse: Warehouse, story: Story
) -> None:
    with database.connect(warehouse.owner, autocommit=True) as owner:
        row = owner.execute(
            "select tableoid::regclass::text, batch_id::text, record_hash from raw.ohlcv"
            " where symbol = 'BTC-USDT' and event_at = %s",
            [START],
        ).fetchone()
        assert row is not None
        table, batch_id, right = row
        wrong = bytes([right[0] ^ 1]) + right[1:]
        _change(owner, table, right, wrong)
        failed = command("verify")
        _change(owner, table, wrong, right)
    assert failed.returncode != 0
    assert batch_id in failed.stderr
    assert "Traceback" not in failed.stderr + failed.stdout
    assert command("verify", "ohlcv").returncode == 0


def _change(owner: database.Session, table: str, old: bytes, new: bytes) -> None:
    # What only a superuser can do, and not by accident: switch the guards off, and on again.
    guards = ("forbid_change", "forbid_change_of_row")
    with owner.transaction():
        owner.execute(f"alter table {table} disable trigger user")
        changed = owner.execute(f"update {table} set record_hash = %s where record_hash = %s", [new, old])
        assert changed.rowcount == 1
        for guard in guards:
            owner.execute(f"alter table {table} enable always trigger {guard}")


def test_verify_when_the_dataset_is_unknown_then_says_what_exists_without_a_traceback(
    command: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    done = command("verify", "../raw.ohlcv")
    assert done.returncode == 1
    assert "ohlcv" in done.stderr
    assert "Traceback" not in done.stderr


STORED = """
    select n.nspname, c.relname,
        (select attname from pg_attribute where attrelid = c.oid and attnum > 0 and attgenerated = '' limit 1)
    from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname in ('raw', 'marts', 'ops', 'quarantine')
    order by 1, 2
"""
# What the code defines, copied for joins by migrations and dbt: no record of what happened.
REFERENCE = {
    ("ops", "datasets"),
    ("ops", "instruments"),
    ("ops", "planner_symbols"),
}


@pytest.mark.parametrize("role", ["owner", *ROLES])
def test_store_when_any_role_updates_deletes_or_truncates_then_every_table_refuses(
    story: Story, warehouse: Warehouse, role: str
) -> None:
    with database.connect(warehouse.owner) as owner:
        tables = [row for row in owner.execute(STORED).fetchall() if row[:2] not in REFERENCE]
    assert {"raw", "marts", "ops", "quarantine"} == {schema for schema, _, _ in tables}
    allowed = []
    with database.connect(getattr(warehouse, role), autocommit=True) as connection:
        for schema, name, column in tables:
            names: dict[str, Any] = {"t": sql.Identifier(schema, name), "c": sql.Identifier(column)}
            for statement in ("update {t} set {c} = {c}", "delete from {t}", "truncate {t} cascade"):
                try:
                    with connection.transaction(force_rollback=True):
                        connection.execute(sql.SQL(statement).format(**names))
                except (psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation):
                    continue
                allowed.append(statement.format(t=f"{schema}.{name}", c=column))
    assert allowed == []
