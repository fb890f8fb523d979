"""Marts that grew with the store, run by run, are what one rebuild makes of raw as of each of those runs."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.dbt.market_rows import DAY, END, HOUR, START, an_hour_later, seed

from coinswarm.orchestration.marts import MARTS, build_marts, rebuild_marts
from coinswarm.storage import reference

pytestmark = pytest.mark.dbt


def test_marts_when_built_as_rows_arrive_then_equal_a_rebuild_as_of_each_run(warehouse: Any, dbt_target: Path) -> None:
    with psycopg.connect(warehouse.owner.dsn) as owner:
        reference.load(owner)
        owner.commit()
        seed(owner, known_at=an_hour_later)
    # Within a day, within an hour of the next day, and long after the last row.
    moments = [START + 10 * HOUR + timedelta(minutes=31), START + 33 * HOUR, START + 75 * HOUR]
    runs = [build_marts(warehouse.transform, as_of=moment, target_dir=dbt_target) for moment in moments]
    assert all(run.rows for run in runs)
    for moment in (moments[0], moments[-1]):
        results = rebuild_marts(
            warehouse.transform, as_of=moment, start=START - 2 * DAY, end=END + 2 * DAY, target_dir=dbt_target
        )
        assert [(r.mart, r.missing, r.unexpected, r.examples) for r in results if not r.agrees] == []
        assert [result.mart for result in results] == list(MARTS)
