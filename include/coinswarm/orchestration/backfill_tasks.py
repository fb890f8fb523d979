"""Tasks of `backfill_history`: plan the chunks, then work through them within the source's rate budget."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import AssetAlias, get_current_context, task

from coinswarm.orchestration import assets
from coinswarm.orchestration.connections import resolve

log = logging.getLogger(__name__)

# Which asset a backfill touches is known only at run time: the alias becomes `raw.<dataset>.<source>`.
BACKFILLED = AssetAlias("backfilled", group="raw")


@task
def plan_chunks() -> dict[str, Any]:
    """Check the parameters and count the chunks; a wrong parameter fails here, with what would be valid."""
    context = get_current_context()
    chunks = _chunks(context)
    todo = sum(not chunk.done for chunk in chunks)
    log.info("%s chunks, %s of them to do", len(chunks), todo)
    return {"chunks": len(chunks), "todo": todo}


@task
def work_through_chunks(planned: dict[str, Any]) -> dict[str, Any]:
    """Land, load, validate and publish chunk by chunk; a retry goes on after the last published one."""
    from coinswarm.ingest.backfill import work

    context = get_current_context()
    totals = {"inserted": 0, "revised": 0, "unchanged": 0}
    for state in work(_chunks(context), resolve):
        for name in totals:
            totals[name] += (state.published or {}).get(name, 0)
        log.info(
            "chunk %s of %s: %s from %s, %s",
            state.number,
            state.total,
            state.batch.feed,
            state.batch.window.start,
            state.published or "nothing to ask",
        )
        context["task_state_store"].set("progress", f"{state.number}/{state.total}")
    params = context["params"]
    context["outlet_events"][BACKFILLED].add(assets.raw(params["dataset"], params["source"]), extra=totals)
    return {**planned, **totals}


def _chunks(context: Any) -> list[Any]:
    from coinswarm.ingest.backfill import plan
    from coinswarm.timeframes import Window, parse_moment

    params = context["params"]
    return plan(
        params["source"],
        params["dataset"],
        Window(parse_moment(params["start"]), parse_moment(params["end"])),
        run_id=context["run_id"],
        resolve=resolve,
        symbols=params["instruments"],
        timeframe=params["timeframe"],
    )
