"""From Redis Streams to raw and Parquet while the pump goes on writing: does the archive keep up with 20,000 a second?

A venue sends `COINSWARM_BENCH_RATE` (default 20,000) trades a second for `COINSWARM_BENCH_SECONDS` (default 60) through
the pump; the archive begins after a quarter of that and so has a backlog. The figure is what it archives a second, gate
and ledger included, until the venue has no more; beside it runs everything else, on the same cores.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from redis import Redis

from benchmarks._report import figure, note
from benchmarks.ticks import processes
from benchmarks.ticks.pump_client import KEYS
from coinswarm.connections import Connection, Resolver
from coinswarm.ingest.archive import archive
from coinswarm.local import postgres, servers
from coinswarm.storage.migrate import migrate

RATE = int(os.environ.get("COINSWARM_BENCH_RATE", "20000"))
SECONDS = int(os.environ.get("COINSWARM_BENCH_SECONDS", "60"))


def main() -> None:
    count = RATE * SECONDS
    with _store() as (resolve, port), processes.frame_server(count, rate=RATE) as url:
        argv = [sys.executable, "-m", "benchmarks.ticks.pump_client", url, str(port), str(count)]
        client = subprocess.Popen(argv, cwd=processes.REPOSITORY, stdout=subprocess.PIPE, text=True)
        time.sleep(SECONDS / 4)
        with Redis(port=port) as redis:
            backlog = sum(int(redis.xlen(key)) for key in KEYS)
        started, archived, rates = time.monotonic(), 0, []
        while archived < count:
            before = time.monotonic()
            done = archive(resolve, seconds=5)
            archived += done.entries
            rates.append((done.entries, time.monotonic() - before, client.poll() is None))
            if not done.entries:
                time.sleep(0.2)
        note(f"{backlog} waited at the start; {archived} archived in {time.monotonic() - started:.1f} s: {rates}")
        client.communicate(timeout=60)
    beside = [(entries, seconds) for entries, seconds, pumping in rates if pumping and entries]
    rate = sum(entries for entries, _ in beside) / sum(seconds for _, seconds in beside)
    figure("archive_rate", rate, "ticks/s", against="the pump's rate in the same run", against_value=RATE, bar=">= 1")


@contextlib.contextmanager
def _store() -> Iterator[tuple[Resolver, int]]:
    folder = Path(tempfile.mkdtemp(prefix="coinswarm-bench-"))
    folder.chmod(0o711)
    with (
        servers.postgres_server(folder) as owner,
        servers.s3_server(folder) as lake,
        processes.bare_redis() as port,
    ):
        warehouse = replace(owner, schema="bench")
        migrate(warehouse.dsn)
        password = secrets.token_urlsafe(12)
        postgres.set_password(owner, "ingest", password)
        found = {
            "pg_ingest": replace(warehouse, conn_id="pg_ingest", login="ingest", password=password),
            "s3_lake": lake,
            "redis_ticks": Connection("redis_ticks", host="127.0.0.1", port=port, schema="0"),
        }
        yield found.__getitem__, port


if __name__ == "__main__":
    main()
