"""As-of queries against the current view over 10⁷ raw rows; `COINSWARM_BENCH_ASOF_ROWS` for less.

A tenth of the rows are later revisions. The as-of queries are asked for now, when they see what the view sees, and for
the moment before the revisions. Sides take turns; the median of the runs counts.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks._report import figure, note, seconds
from coinswarm.local import servers
from coinswarm.storage.database import Session, connect
from coinswarm.storage.migrate import migrate

ROWS = int(os.environ.get("COINSWARM_BENCH_ASOF_ROWS", "10000000"))
# The scan of everything takes a minute and reads every page anyway: fewer runs say as much.
RUNS = {"one symbol, 30 days": 7, "one day, all symbols": 7, "everything": 1}
SYMBOLS = 50
QUERIES = {
    "one symbol, 30 days": "WHERE source = 'binance' AND symbol = 'S7-USDT' AND timeframe = '1m'"
    " AND event_at >= '2025-03-01' AND event_at < '2025-03-31'",
    "one day, all symbols": "WHERE event_at >= '2025-03-01' AND event_at < '2025-03-02'",
    "everything": "",
}


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="coinswarm-bench-"))
    folder.chmod(0o711)
    with servers.postgres_server(folder) as owner:
        warehouse = replace(owner, schema="bench")
        migrate(warehouse.dsn)
        with connect(warehouse, autocommit=True) as conn:
            note(f"loading {ROWS} rows took {seconds(lambda: _load(conn)):.0f} s")
            for name, where in QUERIES.items():
                _compare(conn, name, where)


def _load(conn: Session) -> None:
    conn.execute("SELECT ops.ensure_partitions('ohlcv', ARRAY['2025-01-01', '2026-01-01']::timestamptz[])")
    first = ROWS * 9 // 10
    for start, count, known in ((0, first, "2026-01-01 00:00+00"), (first // 2, ROWS - first, "2026-02-01 00:00+00")):
        # Straight into raw: the benchmark is about reading, and the ledger is not asked here.
        conn.execute(
            f"""
            INSERT INTO raw.ohlcv (source, symbol, event_at, received_at, available_basis, is_tombstone, timeframe,
                open, high, low, close, volume_base, known_at, batch_id, record_hash, schema_version)
            SELECT 'binance', 'S' || n %% {SYMBOLS} || '-USDT',
                '2025-01-01 00:00+00'::timestamptz + n / {SYMBOLS} * interval '1 min',
                '2026-01-01 00:00+00', 'documented', false, '1m', n, n + 2, n, n + 1, 1.5, %s,
                '00000000-0000-0000-0000-000000000000', sha256(int8send(n)), 1
            FROM generate_series(%s::bigint, %s::bigint) AS n
            """,
            [known, start, start + count - 1],
        )
    conn.execute("VACUUM (ANALYZE) raw.ohlcv")


def _compare(conn: Session, name: str, where: str) -> None:
    select = "SELECT count(*), sum(close), max(event_at) FROM"
    sides = {
        "current view": f"{select} raw.ohlcv_current {where}",
        "as of now": f"{select} raw.ohlcv_asof('2026-03-01 00:00+00') {where}",
        "as of before the revisions": f"{select} raw.ohlcv_asof('2026-01-15 00:00+00') {where}",
    }
    times: dict[str, list[float]] = {side: [] for side in sides}
    answers = {}
    for run in range(RUNS[name] + 1):
        for side, query in sides.items():
            taken = seconds(lambda query=query, side=side: answers.update({side: conn.execute(query).fetchone()}))  # type: ignore[misc]
            if run:  # the first run warms the caches
                times[side].append(taken)
    if answers["current view"] != answers["as of now"]:
        raise RuntimeError(f"{name}: as of now is not what the view shows")
    current = statistics.median(times.pop("current view"))
    for side, runs in times.items():
        value = statistics.median(runs) * 1000
        figure(f"as_of: {name}, {side}", value, "ms", against="current view", against_value=current * 1000, bar="<= 2")


if __name__ == "__main__":
    main()
