"""An installation whose marts had no columns of the live feeds yet: they grow, and nothing is lost."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql
from tests.dbt.market_rows import DAY, END, START, seed, seed_ticks

from coinswarm.orchestration.dbt_sources import PROJECT
from coinswarm.orchestration.marts import MARTS, build_marts, rebuild_marts
from coinswarm.storage import reference

pytestmark = pytest.mark.dbt

# What each mart ended with before.
BEFORE = {
    "market_aggregates": "verified_fraction",
    "positioning_by_venue": "basis_bps",
    "planner_positioning": "basis_bps_median",
}


def older_project(folder: Path) -> Path:
    """The project as it was: the marts declare none of the columns that came with the live feeds."""
    shutil.copytree(PROJECT, folder, ignore=shutil.ignore_patterns("target", "logs"))
    file = folder / "models/marts/planner/_models.yml"
    declared = yaml.safe_load(file.read_text("utf-8"))
    for model in declared["models"]:
        if model["name"] in BEFORE:
            names = [column["name"] for column in model["columns"]]
            first, last = names.index(BEFORE[model["name"]]) + 1, names.index("is_tombstone")
            assert first < last
            del model["columns"][first:last]
    file.write_text(yaml.safe_dump(declared, sort_keys=False), "utf-8")
    return folder


def columns(connection: psycopg.Connection[Any], relation: str) -> list[str]:
    rows = connection.execute(
        "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped "
        "order by attnum",
        (relation,),
    )
    return [name for (name,) in rows]


def test_marts_when_the_project_gains_columns_then_old_versions_stay_and_new_ones_have_them(
    warehouse: Any, dbt_target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(warehouse.owner.dsn) as owner:
        reference.load(owner)
        owner.commit()
        seed(owner, ticks=False)
    with monkeypatch.context() as patch:
        patch.setenv("COINSWARM_DBT_PROJECT", str(older_project(tmp_path / "project")))
        old = build_marts(warehouse.transform, target_dir=tmp_path / "target")
    assert old.rows
    with psycopg.connect(warehouse.planner.dsn, autocommit=True) as planner:
        was = {mart: columns(planner, f"marts.{mart}") for mart in BEFORE}

        def stored(mart: str) -> list[tuple[Any, ...]]:
            names = sql.SQL(", ").join(map(sql.Identifier, was[mart]))
            text = sql.SQL(
                "select {} from marts.{} where known_at <= %s order by known_at, row_hash, symbol, bucket_at"
            )
            return planner.execute(text.format(names, sql.Identifier(mart)), (old.as_of,)).fetchall()

        versions = {mart: stored(mart) for mart in BEFORE}
        assert "ticks_verified_fraction" not in was["market_aggregates"]

        # The columns have nothing to say about what is there: all of it is computed anew, and no version appended.
        grown = build_marts(warehouse.transform, touch_since=START, target_dir=dbt_target)
        assert {node.name: node.rows for node in grown.nodes if node.name in MARTS and node.rows} == {}
        with psycopg.connect(warehouse.owner.dsn) as owner:
            seed_ticks(owner, known_at=datetime.now(UTC))
        new = build_marts(warehouse.transform, target_dir=dbt_target)
        assert new.rows
        for mart in BEFORE:
            now = columns(planner, f"marts.{mart}")
            assert now[: len(was[mart])] == was[mart]
            assert len(now) > len(was[mart])
            assert columns(planner, f"marts.{mart}_current") == now
            assert stored(mart) == versions[mart]
            for relation in (f"{mart}_current", f"{mart}_asof(now())"):
                found = planner.execute(f"select count(ticks_verified_fraction) from marts.{relation}").fetchone()
                assert found is not None
                assert found[0] > 0
            empty = planner.execute(f"select count(ticks_verified_fraction) from marts.{mart}_asof(%s)", (old.as_of,))
            assert empty.fetchone() == (0,)
        for statement in ("update {} set symbol = symbol", "delete from {}"):
            with psycopg.connect(warehouse.owner.dsn) as owner, pytest.raises(psycopg.errors.RestrictViolation):
                owner.execute(sql.SQL(statement).format(sql.Identifier("marts", "market_aggregates")))
    days = {"start": START - DAY, "end": END + 2 * DAY, "target_dir": dbt_target}
    for moment in (old.as_of, new.as_of):
        results = rebuild_marts(warehouse.transform, as_of=moment, marts=[*BEFORE, "liquidation_heatmap"], **days)
        assert [(r.mart, r.missing, r.unexpected, r.examples) for r in results if not r.agrees] == []
