"""A worker that lands, stages and publishes one batch, and can be made to die at a named step.

Started by `test_recovery` as a process of its own, with its order as JSON on stdin. The product has no switch for
this: the worker replaces the function that comes next by one that kills the process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from tests.integration.dying import after, die
from tests.integration.storage.batches import READ_AT, bar

from coinswarm.batches import Batch
from coinswarm.connections import Connection, from_fields
from coinswarm.datasets import dataset_named
from coinswarm.storage import database, manifest, staging
from coinswarm.storage import publish as publishing
from coinswarm.storage.lake import Lake, landing_key
from coinswarm.storage.publish import Published

ROWS = 500


def arm(step: str) -> None:
    """Replace what follows `step`."""
    if step == "landed":
        Lake.land = after(Lake.land)  # type: ignore[method-assign]
    elif step == "listed":
        manifest.record = after(manifest.record)
    elif step == "partitions":
        publishing._ensure_partitions = after(publishing._ensure_partitions)
    elif step == "parquet":
        publishing.parquet.write = after(publishing.parquet.write)
    elif step == "parquet stored":
        Lake.put = after(Lake.put, call=2)  # type: ignore[method-assign]
    elif step == "rows inserted":
        publishing._clear_staging = die
    elif step == "staging cleared":
        publishing._clear_staging = after(publishing._clear_staging)
    elif step == "ledger written":
        publishing.stored_result = after(publishing.stored_result, call=3)


def work(ingest: Connection, lake_connection: Connection, batch: Batch, symbol: str, step: str = "") -> Published:
    """All steps of the batch, up to `step`."""
    lake = Lake(lake_connection)

    def incoming() -> Iterator[staging.Incoming]:
        for number in range(ROWS):
            if step == "staging" and number == ROWS // 2:
                die()
            yield staging.Incoming(bar(str(number + 1), minute=number, symbol=symbol), READ_AT, key)

    with database.connect(ingest, autocommit=True) as conn:
        key = landing_key(batch.source, batch.window.start, batch.run_id, "request")
        request = json.dumps({"symbol": symbol})
        manifest.record(conn, batch, [manifest.Entry(lake.land(key, b"[]", request=request), request=request)])
        staging.stage(conn, dataset_named(batch.dataset), batch, incoming())
        if step == "staged":
            die()
        result = publishing.publish(conn, lake, batch)
        if step == "published":
            die()
    return result


if __name__ == "__main__":
    order = json.loads(sys.stdin.read())
    arm(order["step"])
    work(
        from_fields("pg_ingest", order["ingest"]),
        from_fields("s3_lake", order["lake"]),
        Batch.from_json(order["batch"]),
        order["symbol"],
        order["step"],
    )
