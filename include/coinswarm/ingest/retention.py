"""Days of trades leave PostgreSQL once the lake alone is enough for them; the ledger says so."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import psycopg

from coinswarm.connections import Resolver
from coinswarm.errors import IntegrityError, StoreUnavailable
from coinswarm.storage import database
from coinswarm.storage.lake import Lake

log = logging.getLogger(__name__)

KEPT_DAYS = 7


@dataclass(frozen=True, slots=True)
class Expired:
    """A day that left raw: how many rows and batches went with it."""

    day: date
    rows: int
    batches: int


@database.store_errors()
def expire_trades(resolve: Resolver, *, keep_days: int = KEPT_DAYS, now: datetime | None = None) -> list[Expired]:
    """Drop the daily partitions of `raw.trades` that ended more than `keep_days` ago, oldest first.

    A day goes only if its rows are what the ledger says, and if the lake has the file of each of its batches. Dropping
    it is an entry of `ops.expiries`, which `coinswarm verify` accounts for.

    Raises:
        IntegrityError: a day does not agree with the ledger, or the lake lacks a file; it stays, and so do later days.
        StoreUnavailable: PostgreSQL or the lake does not answer, or readers kept the table busy.
    """
    last = ((now or datetime.now(UTC)) - timedelta(days=keep_days)).date()
    lake = Lake(resolve("s3_lake"))
    expired = []
    with database.connect(resolve("pg_ingest"), autocommit=True) as connection:
        days = connection.execute("SELECT * FROM ops.partition_days('trades')").fetchall()
        for (day,) in days:
            if day >= last:
                break
            _require_files(connection, lake, day)
            try:
                row = connection.execute(
                    "SELECT row_count, cardinality(batch_ids) FROM ops.expire_partition('trades', %s, %s)",
                    [day, keep_days],
                ).fetchone()
            except psycopg.errors.DataCorrupted as error:
                raise IntegrityError(str(error).splitlines()[0]) from None
            except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected) as error:
                raise StoreUnavailable(f"raw.trades of {day} is in use: {str(error).splitlines()[0]}") from None
            rows, batches = row or (0, 0)
            log.info("trades of %s left raw: %s rows of %s batches", day, rows, batches)
            expired.append(Expired(day, rows, batches))
    return expired


def oldest_kept(connection: database.Session, now: datetime) -> datetime:
    """Start of the first day whose trades raw still takes."""
    row = connection.execute("SELECT max(range_end) FROM ops.expiries WHERE dataset = 'trades'").fetchone()
    kept = (now - timedelta(days=KEPT_DAYS)).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(kept, row[0]) if row and row[0] else kept


def oldest_filled(connection: database.Session, now: datetime) -> datetime:
    """Start of the first day whose holes are still filled: the one before is about to leave raw."""
    return oldest_kept(connection, now) + timedelta(days=1)


def _require_files(connection: database.Session, lake: Lake, day: date) -> None:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    listed = connection.execute(
        "SELECT o.object_key FROM ops.lake_objects AS o JOIN ops.batches AS b USING (batch_id)"
        " WHERE b.dataset = 'trades' AND b.window_start >= %s AND b.window_start < %s AND o.kind = 'parquet'"
        " AND b.inserted_count > 0 ORDER BY 1",
        [start, start + timedelta(days=1)],
    ).fetchall()
    for (key,) in listed:
        if not lake.exists(key):
            raise IntegrityError(f"trades of {day}: the lake lacks {key}, so raw keeps the day")
