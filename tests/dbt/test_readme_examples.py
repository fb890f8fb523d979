"""The SQL and Python of the pages, run as they stand on built marts: a column that is renamed makes them fail."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.errors import UndefinedColumn
from tests.dbt.market_rows import seed
from tests.support import ROOT

from coinswarm.orchestration.marts import build_marts
from coinswarm.storage import reference

pytestmark = pytest.mark.dbt

PAGES = ("README.md", "dbt_project/README.md", "include/coinswarm/storage/README.md")


def blocks(language: str, page: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.M | re.S)


def statements(page: str) -> list[str]:
    bare = re.sub(r"--[^\n]*", "", "\n".join(blocks("sql", page)))
    return [statement.strip() for statement in bare.split(";") if statement.strip()]


@pytest.fixture(scope="module")
def built(warehouse: Any, dbt_target: Path) -> Any:
    with psycopg.connect(warehouse.owner.dsn) as owner:
        reference.load(owner)
        owner.commit()
        seed(owner)
        owner.execute(
            "INSERT INTO ops.stream_gaps (gap_id, revision, venue, symbol, channel, state, reason, opened_at)"
            " VALUES (gen_random_uuid(), 1, 'okx', 'BTC-USDT', 'trades', 'open', 'crash', now())"
        )
    build_marts(warehouse.transform, target_dir=dbt_target)
    return warehouse


@pytest.mark.parametrize("page", PAGES)
def test_sql_of_a_page_when_run_as_it_stands_then_every_name_in_it_exists(built: Any, page: str) -> None:
    reader = built.auditor if "storage" in page else built.planner
    assert len(statements(page)) >= 2
    with psycopg.connect(reader.dsn, autocommit=True) as connection:
        for statement in statements(page):
            connection.execute(statement.encode())
        with pytest.raises(UndefinedColumn):
            connection.execute(f"select no_such_column from ({statements(page)[-1]}) as example".encode())


def test_sql_of_the_readme_when_run_after_a_build_then_each_statement_finds_rows(built: Any) -> None:
    with psycopg.connect(built.planner.dsn) as connection:
        for statement in statements("README.md"):
            # The marts are seconds old; an hour ago nothing was known.
            since = re.sub(r"now\(\) - interval '[^']+'", "now()", statement)
            assert connection.execute(since.encode()).fetchall(), statement


def test_python_of_the_readme_when_run_then_gives_the_frame_it_promises(
    built: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"pg_planner": {**asdict(built.planner), "conn_type": "postgres"}}))
    monkeypatch.setenv("COINSWARM_CONNECTIONS", str(file))
    monkeypatch.delenv("AIRFLOW_CONN_PG_PLANNER", raising=False)
    (example,) = blocks("python", "README.md")
    names: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), names)
    columns = {"funding_apr_median", "tone_mean", "known_at", "verified_fraction"}
    assert columns <= set(names["frame"].columns)

    # The seeded days are older than the example's window.
    exec(compile(re.sub(r"window_days=\d+", "window_days=3650", example), "README.md", "exec"), names)
    frame = names["frame"]
    assert frame.index.names == ["symbol", "bucket_at"]
    assert set(frame.index.get_level_values("symbol")) == {"BTC-USD", "ETH-USD"}
    assert frame.loc["BTC-USD", "funding_apr_median"].notna().any()
