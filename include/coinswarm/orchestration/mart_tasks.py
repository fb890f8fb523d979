"""Tasks that build marts: one watermark a run, then dbt in process per mart group."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import task

from coinswarm.orchestration.connections import resolve


@task
def take_watermark() -> str:
    """The moment up to which this run reads: everything known by then is committed and visible."""
    from coinswarm.storage import database

    with database.connect(resolve("pg_transform")) as connection:
        row = connection.execute("select ops.safe_now()").fetchone()
    assert row is not None  # noqa: S101 - a function call returns a row
    watermark: datetime = row[0]
    return watermark.isoformat()


@task
def build_mart_group(group: str, watermark: str) -> dict[str, Any]:
    """Run the dbt models of one mart group as of the watermark."""
    from coinswarm.orchestration.marts import build_marts

    run = build_marts(resolve("pg_transform"), select=f"tag:{group}", as_of=datetime.fromisoformat(watermark))
    return {"nodes": len(run.nodes), "seconds": run.seconds, "rows": run.rows}
