"""`get_features` against a bare SQL scan of the same rows: 30 days, 50 symbols, 20 hourly features, p95 of many calls.

The rival reads the very rows with `COPY … TO STDOUT` and throws them away: no newest version, no pivot, no frame.
`COINSWARM_BENCH_CALLS` sets the calls of each side; they take turns.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg

from benchmarks._report import figure, note, seconds
from coinswarm.clients.planner import PlannerData
from coinswarm.connections import Connection
from coinswarm.local import postgres, servers
from coinswarm.orchestration.marts import build_marts
from coinswarm.storage import reference
from coinswarm.storage.migrate import migrate

CALLS = int(os.environ.get("COINSWARM_BENCH_CALLS", "20"))
SYMBOLS = [f"C{n:02d}-USD" for n in range(50)]
DAYS = 30
HISTORY_DAYS = 60
END = datetime(2026, 3, 1, tzinfo=UTC)
KNOWN = END + timedelta(hours=1)
# Together 21 features.
GROUPS = ["price", "options"]


def warehouse(folder: Path, owner: Connection) -> Connection:
    """A migrated database with empty marts; returns the connection of role transform."""
    name = f"bench_{uuid4().hex[:8]}"
    postgres.ensure_database(owner, name)
    owner = replace(owner, schema=name)
    migrate(owner.dsn)
    with psycopg.connect(owner.dsn) as connection:
        reference.load(connection)
    postgres.set_password(owner, "transform", "bench")
    transform = replace(owner, conn_id="pg_transform", login="transform", password="bench")
    build_marts(transform, as_of=END - timedelta(days=400), target_dir=folder / "dbt")
    return transform


def fill(transform: Connection, features: list[str]) -> None:
    """Hourly versions in the order in which runs append them, and one revision of each hundredth."""
    with psycopg.connect(transform.dsn, autocommit=True) as connection:
        for day in range(HISTORY_DAYS):
            connection.execute(
                """
                insert into marts.planner_features
                select s, '1h', at, f, (random() * 100000)::numeric(20, 8), 1, false, at + interval '1 hour',
                  %(run)s, sha256('x')
                from generate_series(%(start)s, %(start)s + interval '23 hours', interval '1 hour') as at
                cross join unnest(%(symbols)s::text[]) as s cross join unnest(%(features)s::text[]) as f
                """,
                {
                    "run": uuid4(),
                    "start": END - timedelta(days=HISTORY_DAYS - day),
                    "symbols": SYMBOLS,
                    "features": features,
                },
            )
        connection.execute(
            "insert into marts.planner_features "
            "select symbol, granularity, bucket_at, feature, value + 1, 1, false, %s, %s, sha256('y') "
            "from marts.planner_features where get_byte(sha256((symbol || feature || bucket_at)::bytea), 0) < 3",
            (KNOWN, uuid4()),
        )
        connection.execute(
            "insert into ops.mart_watermarks (mart, as_of, run_id, versions) values ('planner_features', %s, %s, 0)",
            (KNOWN, uuid4()),
        )
        connection.execute("vacuum (analyze) marts.planner_features")


def main() -> None:
    """Print the figure."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        with servers.postgres_server(folder) as owner:
            transform = warehouse(folder, owner)
            planner = PlannerData(transform)
            features = [f.name for f in planner.features() if f.group in GROUPS and f.stored_at("1h")]
            note(f"{len(features)} features: {', '.join(features)}")
            fill(transform, features)
            compare(transform, planner, features)


def compare(transform: Connection, planner: PlannerData, features: list[str]) -> None:
    """Time both sides in turn."""
    query = psycopg.sql.SQL(
        "copy (select symbol, feature, bucket_at, value, verified_fraction, known_at from marts.planner_features "
        "where symbol = any({}) and granularity = '1h' and feature = any({}) and bucket_at >= {} and bucket_at < {}) "
        "to stdout"
    ).format(SYMBOLS, features, END - timedelta(days=DAYS), END)

    def scan() -> int:
        size = 0
        with (
            psycopg.connect(transform.dsn) as connection,
            connection.cursor() as cursor,
            cursor.copy(query) as copy,
        ):
            for block in copy:
                size += len(block)
        return size

    def ask(output: str) -> Any:
        return planner.get_features(SYMBOLS, GROUPS, DAYS, "1h", end=END, output=output)  # type: ignore[arg-type]

    frame = ask("pandas")
    cells = int(frame[features].notna().sum().sum())
    note(f"{len(frame)} rows, {cells} values")
    assert cells == len(SYMBOLS) * DAYS * 24 * len(features), cells
    times: dict[str, list[float]] = {"scan": [], "pandas": [], "arrow": []}
    for _ in range(CALLS):
        times["scan"].append(seconds(scan))
        times["pandas"].append(seconds(lambda: ask("pandas")))
        times["arrow"].append(seconds(lambda: ask("arrow")))
    p95 = {side: statistics.quantiles(values, n=20, method="inclusive")[-1] for side, values in times.items()}
    for output in ("pandas", "arrow"):
        figure(
            f"get_features_{output}_p95",
            p95[output],
            "s",
            against="COPY of the same rows, discarded, p95",
            against_value=p95["scan"],
            bar="<= 2",
        )


if __name__ == "__main__":
    main()
