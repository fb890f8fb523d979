"""The four steps of a batch as tasks. They exchange the batch's identity and counts, never data."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from airflow.sdk import get_current_context, task
from airflow.sdk.exceptions import AirflowSkipException

from coinswarm.batches import Batch
from coinswarm.orchestration.connections import resolve
from coinswarm.timeframes import Window


def interval_of(context: Any) -> Window:
    """The interval that a run is about."""
    start, end = context["data_interval_start"], context["data_interval_end"]
    return Window(datetime.fromisoformat(start.isoformat()), datetime.fromisoformat(end.isoformat()))


@task
def land_payload(source: str, feed: str) -> dict[str, Any]:
    """Ask the provider for the run's interval and keep its verbatim answers in the lake."""
    from coinswarm.ingest.pipeline import NothingToAsk, land, next_batch

    context = get_current_context()
    batch = next_batch(
        source, feed, interval_of(context), dag_id=context["dag"].dag_id, run_id=context["run_id"], resolve=resolve
    )
    try:
        landed = land(batch, resolve)
    except NothingToAsk as reason:
        raise AirflowSkipException(str(reason)) from None
    return {"batch": batch.to_json(), "objects": landed.objects}


@task
def load_staging(landed: dict[str, Any]) -> dict[str, Any]:
    """Parse what landed: records go to `staging`, rows that do not fit go to `quarantine` with their reason."""
    from coinswarm.ingest.pipeline import load

    loaded = load(Batch.from_json(landed["batch"]), resolve)
    return {"batch": landed["batch"], "staged": loaded.staged, "quarantined": loaded.quarantined, "open": loaded.open}


@task
def publish_batch(gate: dict[str, Any]) -> dict[str, Any]:
    """Make the batch visible in `raw`, in one serialised step, with its entry in the ledger."""
    from coinswarm.ingest.pipeline import publish

    published = publish(Batch.from_json(gate["batch"]), resolve)
    context = get_current_context()
    for asset in context["task"].outlets:
        context["outlet_events"][asset].extra = published
    return published
