"""Bring the records of a batch into `staging`, and refused rows into `quarantine`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from psycopg import Cursor, sql
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
    write = line_writer(dataset, batch.source)
    final = (row for row in rows if row.record.final)
    return stage_lines(conn, dataset, batch, ((write(record, received_at), key) for record, received_at, key in final))


def stage_lines(conn: Session, dataset: Dataset, batch: Batch, lines: Iterable[tuple[str, str]]) -> int:
    """As `stage`, of rows that are written already: each as a `line_writer` writes it, with its landed object's key.

    Whoever writes lines by another way than `line_writer` answers for what `records.check` would have refused.
    """
    columns = (*(c.name for c in BEFORE), *dataset.column_names, "batch_id", "schema_version", "row_no", "landing_key")
    table = sql.Identifier("staging", dataset.name)
    with _replacing(conn, dataset, batch) as cursor:
        statement = sql.SQL("COPY {} ({}) FROM STDIN").format(table, sql.SQL(", ").join(map(sql.Identifier, columns)))
        numbered = _numbered(dataset, batch, lines)
        with cursor.copy(statement) as copy:
            while chunk := "".join(islice(numbered, _LINES_PER_WRITE)):
                copy.write(chunk)
        return cursor.rowcount


def stage_query(conn: Session, dataset: Dataset, batch: Batch, query: str, parameters: Mapping[str, Any]) -> int:
    """As `stage`, of rows that a query over raw yields: `row_no`, symbol, event_at, and the dataset's own columns.

    The rows are derived here and now, so that is when they were received.
    """
    own = ", ".join(dataset.column_names)
    with _replacing(conn, dataset, batch) as cursor:
        cursor.execute(
            f"INSERT INTO staging.{dataset.name} (source, symbol, event_at, received_at, available_basis, is_tombstone,"
            f" {own}, batch_id, schema_version, row_no)"
            f" SELECT %(source)s, symbol, event_at, clock_timestamp(), 'observed', false, {own}, %(batch)s,"
            f" {dataset.schema_version}, row_no FROM ({query}) AS derived",
            {**parameters, "source": batch.source, "batch": batch.batch_id},
        )
        return cursor.rowcount


@contextmanager
def _replacing(conn: Session, dataset: Dataset, batch: Batch) -> Iterator[Cursor[tuple[Any, ...]]]:
    with conn.transaction(), conn.cursor() as cursor:
        lock_batch(conn, batch)
        table = sql.Identifier("staging", dataset.name)
        cursor.execute(sql.SQL("DELETE FROM {} WHERE batch_id = %s").format(table), [batch.batch_id])
        yield cursor
        conn.execute(
            "INSERT INTO ops.batch_steps (batch_id, step, detail) VALUES (%s, 'staged', %s)",
            [batch.batch_id, Jsonb({"rows": cursor.rowcount})],
        )


def line_writer(dataset: Dataset, source: str) -> Callable[[Record, datetime], str]:
    """Writes a record, and when it was received, as COPY wants it: all columns to the last of the dataset's own."""
    # Here because the driver's general way costs several times more per row.
    own = [(column.name, _TEXT[column.kind]) for column in dataset.columns]
    source, time = _escaped(source), _TEXT[Kind.TIMESTAMP]

    def write(record: Record, received_at: datetime) -> str:
        values = record.values
        fields = [
            source,
            _escaped(record.symbol),
            time(record.event_at),
            _NULL if record.published_at is None else time(record.published_at),
            time(received_at),
            _NULL if record.available_at is None else time(record.available_at),
            _escaped(record.available_basis),
            "t" if record.is_tombstone else "f",
        ]
        for name, text in own:
            value = values.get(name)
            fields.append(_NULL if value is None else text(value))
        return "\t".join(fields)

    return write


def _numbered(dataset: Dataset, batch: Batch, lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    tail = f"\t{batch.batch_id}\t{dataset.schema_version}\t"
    for number, (line, key) in enumerate(lines):
        yield f"{line}{tail}{number}\t{_escaped(key)}\n"


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES) if _SPECIAL.search(text) else text


_NULL = "\\N"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_SPECIAL = re.compile(r"[\\\t\n\r]")
_LINES_PER_WRITE = 1_000
_TEXT: dict[Kind, Callable[[Any], str]] = {
    Kind.TEXT: _escaped,
    Kind.NUMERIC: str,
    Kind.INTEGER: str,
    Kind.TIMESTAMP: datetime.isoformat,
    Kind.BOOLEAN: lambda value: "t" if value else "f",
    Kind.JSON: lambda value: _escaped(json.dumps(value, ensure_ascii=False)),
}


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
