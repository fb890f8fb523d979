"""Puts revisions into raw as the owner, without landing and gate: what dbt reads, and nothing else, is the subject."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from coinswarm.datasets import AFTER, BEFORE, dataset_named
from coinswarm.datasets._model import Kind


def insert(
    connection: psycopg.Connection[Any],
    dataset_name: str,
    rows: Iterable[Mapping[str, Any]],
    *,
    known_at: datetime | Callable[[Mapping[str, Any]], datetime],
    **shared: Any,
) -> UUID:
    """Insert revisions known since `known_at` (or what it says of a row); `shared` are columns of all rows. Commits."""
    dataset = dataset_named(dataset_name)
    batch = uuid4()
    columns = (*BEFORE, *dataset.columns, *AFTER)
    constants = {
        "available_basis": "observed",
        "is_tombstone": False,
        "batch_id": batch,
        "schema_version": 1,
        "symbol": "global",
    }
    filled = []
    for row in rows:
        known = known_at if isinstance(known_at, datetime) else known_at(row)
        filled.append({**constants, "known_at": known, "received_at": known, **shared, **row})
    partition_by = dataset.partition_by
    moments = list({row[partition_by] for row in filled})
    connection.execute("select ops.ensure_partitions(%s, %s)", (dataset_name, moments))
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in columns)
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy {} ({}) from stdin").format(sql.Identifier("raw", dataset_name), names)) as copy,
    ):
        for row in filled:
            digest = hashlib.sha256(repr(sorted(row.items(), key=lambda item: item[0])).encode()).digest()
            values = {**row, "record_hash": digest}
            copy.write_row(
                [
                    json.dumps(values[column.name])
                    if column.kind is Kind.JSON and values.get(column.name) is not None
                    else values.get(column.name)
                    for column in columns
                ]
            )
    connection.commit()
    return batch


def insert_verdicts(
    connection: psycopg.Connection[Any],
    rows: Iterable[Mapping[str, Any]],
    *,
    known_at: datetime | Callable[[Mapping[str, Any]], datetime],
    **shared: Any,
) -> None:
    """Record verdicts (venue, symbol, channel, minute, verdict) as of `known_at`, which the ledger's own clock gives
    otherwise. Commits."""
    filled = [{**shared, **row} for row in rows]
    with connection.cursor() as cursor:
        cursor.execute("set local session_replication_role = replica")
        with cursor.copy(
            "copy ops.stream_verdicts (venue, symbol, channel, minute, verdict, events, recorded_at) from stdin"
        ) as copy:
            for row in filled:
                known = known_at if isinstance(known_at, datetime) else known_at({"event_at": row["minute"], **row})
                names = ("venue", "symbol", "channel", "minute", "verdict")
                copy.write_row([*(row[name] for name in names), 1, known])
    connection.commit()
