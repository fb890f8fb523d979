"""A process whose children work on batches and are killed at a named moment.

Started by `test_crashes` with its orders as JSON on stdin; it loads the libraries once and forks for each order. The
product has no switch for this: the child replaces a function by one that ends the process before, in or after it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from tests.integration.dying import after, before

from coinswarm.batches import Batch
from coinswarm.connections import resolve
from coinswarm.ingest import backfill, pipeline
from coinswarm.quality import gate
from coinswarm.quality.suites import validate
from coinswarm.sources.parsing import parse_payload
from coinswarm.storage import manifest, staging
from coinswarm.storage import publish as publishing
from coinswarm.storage.lake import Lake
from coinswarm.timeframes import Window, parse_moment

BARS_PER_CHUNK = 24

# Where the process ends: the object and name of a function, and what takes its place.
MOMENTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "second answer landed, not listed": (Lake, "land", after(Lake.land, 2)),
    "first answer listed": (manifest, "record", after(manifest.record)),
    "everything landed": (pipeline, "land", after(pipeline.land)),
    "in the COPY": (pipeline, "parse_payload", before(parse_payload, 2)),
    "staged": (pipeline, "stage", after(staging.stage)),
    "loaded": (pipeline, "load", after(pipeline.load)),
    "in the gate, checks done": (gate, "validate", after(validate)),
    "in the gate, results not committed": (gate, "_store", after(gate._store)),
    "gate passed": (pipeline, "validate", after(pipeline.validate)),
    "Parquet stored": (Lake, "put", after(Lake.put, 3)),
    "rows inserted, not committed": (publishing, "_clear_staging", before(publishing._clear_staging)),
    "ledger written, not committed": (publishing, "stored_result", after(publishing.stored_result, 3)),
    "published": (pipeline, "publish_rows", after(publishing.publish)),
}


def _work_on(order: dict[str, Any]) -> None:
    if "batch" in order:
        with patch.object(*MOMENTS[order["moment"]]):
            pipeline.run(Batch.from_json(order["batch"]), resolve)
        return
    # A backfill, ended in the COPY of its third chunk.
    with (
        patch.object(backfill, "SLOTS_PER_CHUNK", BARS_PER_CHUNK),
        patch.object(pipeline, "parse_payload", before(parse_payload, 3)),
    ):
        window = Window(parse_moment(order["start"]), parse_moment(order["end"]))
        chunks = backfill.plan(
            "binance",
            "ohlcv",
            window,
            run_id=order["run_id"],
            resolve=resolve,
            symbols=order["symbols"],
            timeframe="1h",
        )
        list(backfill.work(chunks, resolve))


def _child(order: dict[str, Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            _work_on(order)
        except BaseException as error:  # a fork must never return into the code of its parent
            print(f"{order.get('moment')}: {error!r}", file=sys.stderr, flush=True)
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    warming, *orders = json.loads(sys.stdin.read())
    # One whole batch first: what it loads, the children need not load again.
    pipeline.run(Batch.from_json(warming["batch"]), resolve)
    json.dump([_child(order) for order in orders], sys.stdout)
