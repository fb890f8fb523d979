"""Publishing against COPY of the same rows into an identically partitioned and indexed table, and against to_sql.

`COINSWARM_BENCH_ROWS` sets the rows of a batch (default 500,000), `COINSWARM_BENCH_REPEATS` how often each side runs;
the best run of each side counts, and the sides take turns. The rival's rows are rendered already and go straight in.

What counts as publishing is what makes staged rows visible: finding duplicates, comparing each row with the newest
revision of its key, inserting, digests, counts, ledger with its chain, clearing staging, and the record hash of every
row, although staging computes it (the difference of COPY into staging with and without it). Landing, parsing, the gate
and the Parquet file are not part of it. COPY's side gets the very rows of raw, hashes included, already rendered.

- `publish_new`, `_unchanged`, `_revised`: that, for a batch of new keys, the same batch again, the batch with other
  values. Raw holds little else, so that publish reads it in one go.
- `publish_revised_by_probes`: revised once more, each key looked up by itself, as for small batches and large tables.
- `stage_and_publish_*`: the same plus COPY of rendered rows into staging.
- `publish_end_to_end_*`: from Python records to visible rows, with rendering, Parquet and S3.

`to_sql` is pandas' default way, into the same kind of table. `copy_over_to_sql` says how much faster COPY itself is:
where that is under 10, publishing at 10 times `to_sql` would have to be faster than COPY of the finished rows.
`publish_*_cpu`: CPU of the server process on both sides, which other work on the machine changes little.
"""

from __future__ import annotations

import contextlib
import os
import random
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pandas as pd
import sqlalchemy

from benchmarks._report import figure, note, seconds
from coinswarm.batches import Batch
from coinswarm.connections import Connection
from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record
from coinswarm.local import postgres, servers
from coinswarm.storage import insertion, staging
from coinswarm.storage import publish as publishing
from coinswarm.storage.database import Session, connect
from coinswarm.storage.lake import Lake
from coinswarm.storage.migrate import migrate
from coinswarm.storage.staging import Incoming
from coinswarm.timeframes import Window

ROWS = int(os.environ.get("COINSWARM_BENCH_ROWS", "500000"))
REPEATS = int(os.environ.get("COINSWARM_BENCH_REPEATS", "2"))
TO_SQL_ROWS = max(min(ROWS // 25, 20_000), 1_000)
SYMBOLS = 10
START = datetime(2025, 6, 1, tzinfo=UTC)
OHLCV = dataset_named("ohlcv")
BLOCK = 1 << 20


class Cost(NamedTuple):
    """Wall time of a call, and CPU time of the server process in it (0 where the system does not tell), in seconds."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Times:
    """What one run of one case cost; `parquet` is part of `publish`."""

    render_and_stage: Cost
    copy_to_staging: Cost
    copy_without_hash: Cost
    publish: Cost
    parquet: Cost
    rival: Cost


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="coinswarm-bench-"))
    folder.chmod(0o711)
    with servers.postgres_server(folder) as owner, servers.s3_server(folder) as lake_connection:
        runs: dict[str, list[Times]] = {}
        to_sql = 0.0
        for number in range(REPEATS):
            warehouse = replace(owner, schema=f"bench_{number}")
            migrate(warehouse.dsn)
            postgres.set_password(owner, "ingest", "bench")
            ingest = replace(warehouse, login="ingest", password="bench")
            with connect(ingest, autocommit=True) as conn, connect(warehouse, autocommit=True) as admin:
                _make_rival(admin, conn)
                for case, bump in (("new", 0), ("unchanged", 0), ("revised", 1), ("revised_by_probes", 2)):
                    with _only_probes() if case.endswith("_probes") else contextlib.nullcontext():
                        times = _measure(conn, admin, Lake(lake_connection), bump)
                    runs.setdefault(case, []).append(times)
                    note(f"run {number + 1} {case}: {times}")
                to_sql = max(to_sql, TO_SQL_ROWS / _to_sql(warehouse))
        for case, times_of_case in runs.items():
            _report(case, times_of_case, to_sql)
        figure(
            "copy_over_to_sql",
            max(ROWS / times.rival.wall for times_of_case in runs.values() for times in times_of_case),
            "rows/s",
            against="pandas to_sql",
            against_value=to_sql,
            bar="",
        )


def _report(case: str, runs: list[Times], to_sql: float) -> None:
    def best(part: Callable[[Times], float]) -> float:
        return min(part(times) for times in runs)

    def publishing_and_hash(unit: int) -> float:
        # The difference of the best runs: that of a single run may be noise in our favour.
        hashing = best(lambda times: times.copy_to_staging[unit]) - best(lambda times: times.copy_without_hash[unit])
        return best(lambda times: times.publish[unit] - times.parquet[unit]) + max(hashing, 0)

    rival = best(lambda times: times.rival.wall)
    staging_too = best(lambda times: times.publish.wall - times.parquet.wall + times.copy_to_staging.wall)
    end_to_end = best(lambda times: times.render_and_stage.wall + times.publish.wall)
    barred = ("", "") if case.endswith("_probes") else (">= 0.4", ">= 10")
    for name, took, copy_bar, to_sql_bar in (
        (f"publish_{case}", publishing_and_hash(0), *barred),
        (f"stage_and_publish_{case}", staging_too, "", ""),
        (f"publish_end_to_end_{case}", end_to_end, "", ""),
    ):
        copy = "COPY of rendered rows into an identically indexed table"
        figure(name, ROWS / took, "rows/s", against=copy, against_value=ROWS / rival, bar=copy_bar)
        figure(name, ROWS / took, "rows/s", against="pandas to_sql", against_value=to_sql, bar=to_sql_bar)
    ours, theirs = publishing_and_hash(1), best(lambda times: times.rival.cpu)
    if ours and theirs:
        figure(
            f"publish_{case}_cpu",
            ROWS / ours,
            "rows per second of the server's CPU",
            against="COPY of rendered rows into an identically indexed table",
            against_value=ROWS / theirs,
            bar="",
        )


def _cost(conn: Session, work: Callable[[], object]) -> Cost:
    before = _cpu(conn.info.backend_pid)
    wall = seconds(work)
    return Cost(wall, _cpu(conn.info.backend_pid) - before)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def _only_probes() -> Iterator[None]:
    # No batch is large: then no range is read.
    large = insertion._LARGE
    insertion._LARGE = ROWS + 1
    try:
        yield
    finally:
        insertion._LARGE = large


def _measure(conn: Session, admin: Session, lake: Lake, bump: int) -> Times:
    rows = _records(bump)
    batch = _batch()
    render = staging.line_writer(OHLCV, batch.source)
    lines = [(render(record, received_at), key) for record, received_at, key in rows]
    rendered = "".join(staging._numbered(OHLCV, batch, lines)).encode()
    columns = admin.execute(
        "SELECT string_agg(attname, ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'staging.ohlcv'::regclass"
        " AND attnum > 0 AND attname NOT IN ('record_hash', 'quality_score')"
    ).fetchone()
    admin.execute("VACUUM staging.ohlcv")
    listed = (columns or [""])[0]
    copy = _cost(conn, lambda: _copy(conn, f"staging.ohlcv ({listed})", rendered))
    admin.execute("TRUNCATE staging.plain")
    plain = _cost(conn, lambda: _copy(conn, f"staging.plain ({listed})", rendered))
    conn.execute("DELETE FROM staging.ohlcv")
    admin.execute("VACUUM staging.ohlcv")
    stage = _cost(conn, lambda: staging.stage(conn, OHLCV, batch, rows))
    same = _as_copy(admin)

    parquet = [Cost(0, 0)]
    write = publishing._write_parquet

    def timed(*args: object) -> None:
        parquet[0] = _cost(conn, lambda: write(*args))  # type: ignore[arg-type]

    publishing._write_parquet = timed  # type: ignore[assignment]
    try:
        publish = _cost(conn, lambda: publishing.publish(conn, lake, batch))
    finally:
        publishing._write_parquet = write
    rival = _cost(conn, lambda: _copy(conn, "staging.rival", same))
    return Times(stage, copy, plain, publish, parquet[0], rival)


def _make_rival(admin: Session, conn: Session) -> None:
    years = (START.year, (START + timedelta(minutes=ROWS // SYMBOLS)).year)
    for year in range(years[0], years[1] + 1):
        conn.execute("SELECT ops.ensure_partitions('ohlcv', ARRAY[make_timestamptz(%s, 6, 1, 0, 0, 0)])", [year])
    admin.execute("CREATE TABLE staging.rival (LIKE raw.ohlcv INCLUDING ALL) PARTITION BY RANGE (event_at)")
    for year in range(years[0], years[1] + 1):
        admin.execute(
            f"CREATE TABLE staging.rival_{year} PARTITION OF staging.rival"
            f" FOR VALUES FROM ('{year}-01-01 00:00+00') TO ('{year + 1}-01-01 00:00+00')"
        )
    # Staging as it is, but for the hash.
    admin.execute("CREATE TABLE staging.plain (LIKE staging.ohlcv INCLUDING INDEXES)")
    admin.execute("GRANT INSERT ON staging.rival, staging.plain TO ingest")
    ours, theirs = (
        admin.execute("SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass", [table]).fetchone()
        for table in ("raw.ohlcv", "staging.rival")
    )
    if ours != theirs:
        raise RuntimeError(f"the rival's table has {theirs} indexes, ours {ours}")


def _as_copy(admin: Session) -> bytes:
    columns = admin.execute(
        "SELECT string_agg(CASE attname WHEN 'known_at' THEN 'clock.now' ELSE attname END, ',' ORDER BY attnum)"
        " FROM pg_attribute WHERE attrelid = 'raw.ohlcv'::regclass AND attnum > 0"
    ).fetchone()
    query = (
        f"SELECT {(columns or [''])[0]} FROM staging.ohlcv, (SELECT clock_timestamp() AS now) AS clock ORDER BY row_no"
    )
    with admin.cursor() as cursor, cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
        return b"".join(bytes(block) for block in copy)


def _copy(conn: Session, target: str, rendered: bytes) -> None:
    with conn.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for start in range(0, len(rendered), BLOCK):
            copy.write(rendered[start : start + BLOCK])


def _to_sql(warehouse: Connection) -> float:
    """Seconds for TO_SQL_ROWS rows as a data engineer would write it first, into the same kind of table."""
    rows = _records(7)[:TO_SQL_ROWS]
    frame = pd.DataFrame(
        [
            {
                "source": "binance",
                "symbol": row.record.symbol,
                "event_at": row.record.event_at,
                "received_at": row.received_at,
                "available_at": row.record.available_at,
                "available_basis": row.record.available_basis,
                "is_tombstone": False,
                **row.record.values,
                "known_at": datetime.now(UTC),
                "batch_id": str(uuid4()),
                "record_hash": b"\x00" * 32,
                "schema_version": 1,
            }
            for row in rows
        ]
    )
    engine = sqlalchemy.create_engine(warehouse.dsn.replace("postgresql://", "postgresql+psycopg://"))
    try:
        with engine.begin() as connection:
            types: dict[str, object] = {column: sqlalchemy.Numeric for column in frame if _is_exact(frame[column])}
            types |= {"batch_id": sqlalchemy.UUID(as_uuid=False), "record_hash": sqlalchemy.LargeBinary}
            return seconds(
                lambda: frame.to_sql(
                    "rival", connection, schema="staging", if_exists="append", index=False, dtype=types
                )
            )
    finally:
        engine.dispose()


def _is_exact(column: pd.Series) -> bool:
    return isinstance(column.iloc[0], Decimal)


def _batch() -> Batch:
    return Batch("binance", "ohlcv_1m", "ohlcv", "1m", Window(START, START + timedelta(days=400)), "bench", uuid4().hex)


def _records(bump: int) -> list[Incoming]:
    dice = random.Random(1)
    read_at = START + timedelta(days=400)
    rows = []
    for number in range(ROWS):
        price = Decimal(dice.randrange(5_000_000, 6_000_000)) / 100 + bump
        opened = START + timedelta(minutes=number // SYMBOLS)
        values = {
            "timeframe": "1m",
            "open": price,
            "high": price + 10,
            "low": price - 10,
            "close": price + 1,
            "volume_base": price / 1000,
            "volume_quote": price * 3,
            "trade_count": number % 777,
            "taker_buy_base": price / 2000,
            "taker_buy_quote": price,
        }
        record = Record(
            f"S{number % SYMBOLS}-USDT",
            opened,
            values,
            available_at=opened + timedelta(minutes=1),
            available_basis="documented",
        )
        rows.append(Incoming(record, read_at, f"landing/binance/2025/06/01/bench/{number // 1000}.json.zst"))
    return rows


if __name__ == "__main__":
    main()
