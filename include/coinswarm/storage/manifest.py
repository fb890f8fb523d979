"""`ops.lake_objects`: which objects belong to which batch."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from coinswarm.batches import Batch
from coinswarm.errors import IntegrityError
from coinswarm.storage.database import Session
from coinswarm.storage.lake import LakeObject


class Entry(NamedTuple):
    """An object of a batch. `request` is the request's JSON (landed bytes), `row_count` the rows (Parquet)."""

    stored: LakeObject
    kind: str = "landing"
    request: str | None = None
    row_count: int | None = None


def record(conn: Session, batch: Batch, entries: Iterable[Entry]) -> None:
    """List objects in the manifest, in one transaction. Saying it twice lists them once.

    Raises:
        IntegrityError: an object is listed already with another content or for another batch.
    """
    with conn.transaction(), conn.cursor() as cursor:
        for entry in entries:
            cursor.execute(
                "INSERT INTO ops.lake_objects"
                " (object_key, kind, batch_id, source, dataset, sha256, byte_count, row_count, request)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb) ON CONFLICT DO NOTHING",
                [
                    entry.stored.key,
                    entry.kind,
                    batch.batch_id,
                    batch.source,
                    batch.dataset,
                    entry.stored.sha256,
                    entry.stored.byte_count,
                    entry.row_count,
                    entry.request,
                ],
            )
            if cursor.rowcount == 0:
                listed = cursor.execute(
                    "SELECT sha256, batch_id FROM ops.lake_objects WHERE object_key = %s", [entry.stored.key]
                ).fetchone()
                if listed != (entry.stored.sha256, batch.batch_id):
                    raise IntegrityError(f"batch {batch.batch_id}: {entry.stored.key} is listed with another content")


def landed_objects(conn: Session, batch: Batch) -> list[tuple[str, str | None]]:
    """Key and request JSON of the landed objects of a batch, in order of their keys."""
    rows = conn.execute(
        "SELECT object_key, request::text FROM ops.lake_objects WHERE batch_id = %s AND kind = 'landing'"
        " ORDER BY object_key",
        [batch.batch_id],
    ).fetchall()
    return [(str(key), request) for key, request in rows]
