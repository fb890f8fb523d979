"""A process whose children archive the streams and are killed at a named moment; see `doomed` for the idea.

Started by `test_archive_crashes`; for every moment that it reads, a line each, it writes how its child ended.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from tests.integration.dying import after, before

from coinswarm.connections import resolve
from coinswarm.ingest import archive as archiving
from coinswarm.ingest import trade_bars
from coinswarm.ingest.streams import Streams
from coinswarm.quality import gate
from coinswarm.quality.suites import load_great_expectations
from coinswarm.storage import manifest, staging
from coinswarm.storage import publish as publishing
from coinswarm.storage.lake import Lake

MOMENTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "entries taken, nothing landed": (Streams, "read", after(Streams.read)),
    "first batch landed, not listed": (Lake, "land", after(Lake.land)),
    "first batch listed, not committed": (manifest, "record", after(manifest.record)),
    "everything landed": (archiving._Worker, "_cycle", after(archiving._Worker._cycle)),
    "in the COPY": (staging, "_numbered", before(staging._numbered)),
    "staged": (archiving, "stage_lines", after(staging.stage_lines)),
    "in the gate, results not committed": (gate, "_store", after(gate._store)),
    "gate passed": (archiving, "publish", before(publishing.publish)),
    "Parquet stored": (Lake, "put", after(Lake.put, 3)),
    "rows inserted, not committed": (publishing, "_clear_staging", before(publishing._clear_staging)),
    "published, not acknowledged": (Streams, "acknowledge", before(Streams.acknowledge)),
    "acknowledged, not noted": (Streams, "acknowledge", after(Streams.acknowledge)),
    "second batch published, not acknowledged": (archiving, "publish", after(publishing.publish, 2)),
    "books published, group not moved": (Streams, "pass_over", before(Streams.pass_over)),
    "bars staged": (trade_bars, "stage_query", after(staging.stage_query)),
    "bars published, not noted": (trade_bars, "publish", after(publishing.publish)),
}


def _child(moment: str) -> int:
    child = os.fork()
    if child == 0:
        try:
            with patch.object(*MOMENTS[moment]):
                archiving.archive(resolve)
        except BaseException as error:  # a fork must never return into the code of its parent
            print(f"{moment}: {error!r}", file=sys.stderr, flush=True)
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    load_great_expectations()
    for line in sys.stdin:
        print(_child(line.strip()), flush=True)
