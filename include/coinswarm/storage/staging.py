"""Bring the records of a batch into `staging`, and refused rows into `quarantine`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import sql
from psycopg.types.json import Jsonb

from coinswarm.batches import Batch
from coinswarm.datasets import BEFORE, Dataset, Kind
from coinswarm.datasets.records import Record, Rejected
from coinswarm.storage.database import Session

MAX_PAYLOAD = 16_000


class Incoming(NamedTuple):
    """A record with the landed object that it was parsed from and the time that object was read."""

    record: Record
    received_at: datetime
    landing_key: str


class Refusal(NamedTuple):
    """A rejected row with the landed object that it was in and the instrument that was asked for."""

    rejected: Rejected
    landing_key: str | None = None
    symbol: str | None = None


def lock_batch(conn: Session, batch: Batch) -> None:
    """Keep a second attempt at the same batch waiting until this transaction ends."""
    conn.execute("SELECT pg_advisory_xact_lock(20413, hashtext(%s))", [str(batch.batch_id)])


def stage(conn: Session, dataset: Dataset, batch: Batch, rows: Iterable[Incoming]) -> int:
    """Put the final records of a batch into `staging.<dataset>`, replacing what an earlier attempt staged.

    One transaction. Rows are numbered in the order given. Records that are not final are left out.

    Returns:
        Number of rows staged.
    """
    columns = (*(c.name for c in BEFORE), *dataset.column_names, "batch_id", "schema_version", "row_no", "landing_key")
    table = sql.Identifier("staging", dataset.name)
    with conn.transaction(), conn.cursor() as cursor:
        lock_batch(conn, batch)
        cursor.execute(sql.SQL("DELETE FROM {} WHERE batch_id = %s").format(table), [batch.batch_id])
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(table, sql.SQL(", ").join(map(sql.Identifier, columns)))
        with cursor.copy(statement) as copy:
            for row in _lines(dataset, batch, rows):
                copy.write_row(row)
        staged = cursor.rowcount
        cursor.execute(
            "INSERT INTO ops.batch_steps (batch_id, step, detail) VALUES (%s, 'staged', %s)",
            [batch.batch_id, Jsonb({"rows": staged})],
        )
    return staged


def _lines(dataset: Dataset, batch: Batch, rows: Iterable[Incoming]) -> Iterator[tuple[Any, ...]]:
    json_columns = {column.name for column in dataset.columns if column.kind is Kind.JSON}
    names = dataset.column_names
    tail = (batch.batch_id, dataset.schema_version)
    for number, (record, received_at, landing_key) in enumerate(row for row in rows if row.record.final):
        values = record.values
        own = [values.get(name) for name in names]
        if json_columns:
            own = [Jsonb(v) if v is not None and n in json_columns else v for n, v in zip(names, own, strict=True)]
        yield (
            batch.source,
            record.symbol,
            record.event_at,
            record.published_at,
            received_at,
            record.available_at,
            record.available_basis,
            record.is_tombstone,
            *own,
            *tail,
            number,
            landing_key,
        )


def quarantine(conn: Session, batch: Batch, refusals: Iterable[Refusal], *, stage: str = "parse") -> int:
    """Keep refused rows in `quarantine.records` with reason and payload. Saying it twice keeps it once.

    Args:
        conn: session of the ingest role; the rows go in as one transaction.
        batch: the batch that the rows came with.
        refusals: what was refused. Payloads longer than 16,000 characters are cut.
        stage: who refused it, `parse`, `gate` or `publish`.

    Returns:
        Number of rows that were new.
    """
    rows = [
        (
            batch.batch_id,
            batch.source,
            batch.dataset,
            _clean(refusal.symbol),
            refusal.rejected.row,
            _clean(refusal.rejected.field),
            _clean(refusal.rejected.reason),
            stage,
            _payload(refusal.rejected.payload),
            refusal.landing_key,
        )
        for refusal in refusals
    ]
    with conn.transaction(), conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO quarantine.records (batch_id, source, dataset, symbol, row_no, field, reason, stage, payload,"
            " landing_key) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s) ON CONFLICT DO NOTHING",
            rows,
        )
        return max(cursor.rowcount, 0)


def _clean(text: str | None) -> str | None:
    # PostgreSQL has no place for NUL and lone surrogates.
    return None if text is None else text[:MAX_PAYLOAD].replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _payload(payload: Any) -> str | None:
    if payload is None:
        return None
    try:
        text = json.dumps(payload, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_unprintable(payload))
    if len(text) > MAX_PAYLOAD:
        text = json.dumps({"cut": text[:MAX_PAYLOAD]}, ensure_ascii=False)
    return text.replace("\\u0000", "\\ufffd").encode("utf-8", "replace").decode()


def _unprintable(payload: Any) -> str:
    try:
        return repr(payload)[:MAX_PAYLOAD]
    except RecursionError:
        return f"{type(payload).__name__}, nested too deeply"
