"""Publishing: the one serialised step in which staged rows become visible, with their entry in the ledger.

A publish is one transaction. Until it commits no reader sees anything of the batch; after that everything is there:
rows, Parquet manifest, ledger row, and the batch is gone from staging.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from psycopg.types.json import Jsonb

from coinswarm.batches import Batch
from coinswarm.datasets import Dataset, dataset_named
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.storage import manifest, parquet
from coinswarm.storage.database import Session, require_idle
from coinswarm.storage.insertion import extent, insert_statement, reads_range
from coinswarm.storage.lake import Lake, ObjectDiffers, parquet_key
from coinswarm.storage.staging import lock_batch

# Statistics do not know the rows that were staged a moment ago, and a nested loop over all of them that was planned for
# one would take for ever. Sorting once is cheaper than walking an index for rows in its order.
_SETTINGS = (
    "SET LOCAL work_mem = '256MB'; SET LOCAL jit = off; SET LOCAL enable_nestloop = off;"
    " SET LOCAL enable_incremental_sort = off"
)


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did, in rows.

    `inserted` holds `revised` (their key had a revision) and `tombstones`; `staged` less inserted and unchanged were
    duplicates within the batch. `chain` is the ledger's hash up to here.
    """

    batch_id: UUID
    known_at: datetime
    staged: int
    inserted: int
    revised: int
    unchanged: int
    tombstones: int
    chain: bytes


def publish(conn: Session, lake: Lake, batch: Batch) -> Published:
    """Make the staged rows of a batch visible, as the role ingest. Publishing a batch again gives the first result.

    A row is inserted only if its `record_hash` differs from that of the newest revision of its key. Of rows with the
    same key in the batch the last one counts; the others go to quarantine if they say something else.

    Raises:
        UserError: the batch was never staged.
        StoreUnavailable: PostgreSQL or the lake does not answer, or the staged rows were lost; nothing was published.
    """
    dataset = dataset_named(batch.dataset)
    require_idle(conn)
    # Partitions first and in a transaction of their own: attaching one takes locks that are not for holding long.
    with conn.transaction():
        if stored_result(conn, batch) is None:
            _require_staged(conn, dataset, batch)
            _ensure_partitions(conn, dataset, batch)
    with conn.transaction():
        lock_batch(conn, batch)
        done = stored_result(conn, batch)
        if done is None:
            return _publish(conn, lake, dataset, batch)
        _clear_staging(conn, dataset, batch)
        return done


def stored_result(conn: Session, batch: Batch) -> Published | None:
    """The result of a batch that was published already, else None."""
    row = conn.execute(
        "SELECT batch_id, known_at, staged_count, inserted_count, revised_count, unchanged_count, tombstone_count,"
        " chain_sha256 FROM ops.batches WHERE batch_id = %s",
        [batch.batch_id],
    ).fetchone()
    return None if row is None else Published(*row)


def _require_staged(conn: Session, dataset: Dataset, batch: Batch) -> None:
    step = conn.execute(
        "SELECT (detail ->> 'rows')::bigint FROM ops.batch_steps WHERE batch_id = %s AND step = 'staged'"
        " ORDER BY at DESC LIMIT 1",
        [batch.batch_id],
    ).fetchone()
    if step is None:
        raise UserError(f"{batch.source}/{batch.dataset}: batch {batch.batch_id} was never staged")
    row = conn.execute(
        f"SELECT EXISTS (SELECT FROM staging.{dataset.name} WHERE batch_id = %(batch)s),"
        " (SELECT count(DISTINCT row_no) FROM quarantine.records WHERE batch_id = %(batch)s AND stage = 'gate')",
        {"batch": batch.batch_id},
    ).fetchone()
    present, refused = row or (False, 0)
    if not present and refused < step[0]:
        raise StoreUnavailable(
            f"{batch.source}/{batch.dataset}: the {step[0]} staged rows of batch {batch.batch_id} are gone: stage again"
        )


def _ensure_partitions(conn: Session, dataset: Dataset, batch: Batch) -> None:
    conn.execute(
        # Days, because cutting down to a day is much cheaper than to a year.
        "SELECT ops.ensure_partitions(%s, moments) FROM (SELECT array_agg(day) AS moments FROM (SELECT DISTINCT"
        f" date_bin('1 day', {dataset.partition_by}, '2000-01-01 00:00+00') AS day FROM staging.{dataset.name}"
        " WHERE batch_id = %s) AS days) AS all_days WHERE moments IS NOT NULL",
        [dataset.name, batch.batch_id],
    )


def _publish(conn: Session, lake: Lake, dataset: Dataset, batch: Batch) -> Published:
    score = _score(conn, batch)
    _write_parquet(conn, lake, dataset, batch, score)
    # From here on publishes of the dataset wait for us.
    conn.execute("SELECT ops.lock_for_publish(%s)", [dataset.name])
    previous = conn.execute(
        "SELECT greatest(clock_timestamp(), known_at + interval '1 microsecond'), seq + 1, chain_sha256"
        " FROM (VALUES (1)) AS one LEFT JOIN (SELECT known_at, seq, chain_sha256 FROM ops.batches WHERE dataset = %s"
        " ORDER BY seq DESC LIMIT 1) AS last ON true",
        [dataset.name],
    ).fetchone()
    known_at, seq, previous_chain = previous or (None, None, None)
    conn.execute(_SETTINGS)
    staged = extent(conn, dataset, batch)
    by_range = reads_range(conn, dataset, batch, staged)
    counts = conn.execute(
        insert_statement(dataset, staged.condition if by_range else None),
        {
            "batch": batch.batch_id,
            "source": batch.source,
            "known_at": known_at,
            "quality_score": score,
            **staged.parameters,
        },
    ).fetchone()
    distinct, inserted, revised, tombstones, rows_sha256 = counts or (0, 0, 0, 0, b"")
    if staged.rows != distinct:
        conn.execute(_duplicates_statement(dataset), {"batch": batch.batch_id})
    if _clear_staging(conn, dataset, batch) != staged.rows:
        raise StoreUnavailable(f"staged rows of batch {batch.batch_id} changed while it was published: try again")
    conn.execute(
        "INSERT INTO ops.batch_steps (batch_id, step, detail) VALUES (%s, 'published', %s)",
        [batch.batch_id, Jsonb({"inserted": inserted})],
    )
    conn.execute(
        _LEDGER,
        {
            "batch": batch.batch_id,
            "dataset": dataset.name,
            "source": batch.source,
            "feed": batch.feed,
            "dag_id": batch.dag_id,
            "run_id": batch.run_id,
            "start": batch.window.start,
            "end": batch.window.end,
            "staged": staged.rows,
            "inserted": inserted,
            "revised": revised,
            "unchanged": distinct - inserted,
            "tombstones": tombstones,
            "rows_sha256": rows_sha256,
            "previous": previous_chain,
            "seq": seq or 1,
            "known_at": known_at,
        },
    )
    result = stored_result(conn, batch)
    if result is None:
        raise StoreUnavailable(f"batch {batch.batch_id} did not reach the ledger")
    return result


def _score(conn: Session, batch: Batch) -> Decimal | None:
    # Of all rows alike, so that the gate need not write each of them once more.
    row = conn.execute(
        "SELECT score FROM ops.quality_scores WHERE batch_id = %s ORDER BY scored_at DESC LIMIT 1", [batch.batch_id]
    ).fetchone()
    return row[0] if row else None


def _write_parquet(conn: Session, lake: Lake, dataset: Dataset, batch: Batch, score: Decimal | None) -> None:
    row = conn.execute(
        f"SELECT min(symbol), max(symbol) FROM staging.{dataset.name} WHERE batch_id = %s", [batch.batch_id]
    ).fetchone()
    first, last = row or (None, None)
    if first is None:
        return
    body, rows = parquet.write(conn, dataset, batch, score)
    symbol = first if first == last else "all"
    key = parquet_key(dataset, batch.source, batch.window.start, symbol, batch.batch_id)
    try:
        stored = lake.put(key, body)
    except ObjectDiffers:
        # An attempt that died before its commit left other bytes here (it had other rows). They stay, unlisted.
        variant = hashlib.sha256(body).hexdigest()[:12]
        stored = lake.put(
            parquet_key(dataset, batch.source, batch.window.start, symbol, batch.batch_id, variant=variant), body
        )
    manifest.record(conn, batch, [manifest.Entry(stored, "parquet", row_count=rows)])


def _clear_staging(conn: Session, dataset: Dataset, batch: Batch) -> int:
    return conn.execute(f"DELETE FROM staging.{dataset.name} WHERE batch_id = %s", [batch.batch_id]).rowcount


def _duplicates_statement(dataset: Dataset) -> str:
    key = ", ".join(("symbol", *dataset.key))
    return f"""
        INSERT INTO quarantine.records
            (batch_id, source, dataset, symbol, row_no, field, reason, stage, payload, landing_key)
        SELECT batch_id, source, '{dataset.name}', symbol, row_no, '{dataset.key[0]}',
            'another row of the batch has the same key and other values: the last one counts', 'publish',
            payload, landing_key
        FROM (
            SELECT batch_id, source, symbol, row_no, landing_key, record_hash, to_jsonb(s) - 'record_hash' AS payload,
                first_value(record_hash) OVER (PARTITION BY {key} ORDER BY row_no DESC) AS kept
            FROM staging.{dataset.name} AS s WHERE batch_id = %(batch)s
        ) AS candidates
        WHERE record_hash <> kept
        ON CONFLICT DO NOTHING
    """


_LEDGER = """
    WITH entry AS (
        SELECT %(batch)s::uuid AS batch_id, %(dataset)s::text AS dataset, %(source)s::text AS source,
            %(feed)s::text AS feed, %(dag_id)s::text AS dag_id, %(run_id)s::text AS run_id,
            %(start)s::timestamptz AS window_start, %(end)s::timestamptz AS window_end,
            %(staged)s::bigint AS staged_count, %(inserted)s::bigint AS inserted_count,
            %(revised)s::bigint AS revised_count, %(unchanged)s::bigint AS unchanged_count,
            %(tombstones)s::bigint AS tombstone_count,
            (SELECT count(*) FROM quarantine.records WHERE batch_id = %(batch)s) AS quarantined_count,
            (SELECT coalesce(jsonb_agg(jsonb_build_object('key', object_key, 'kind', kind, 'bytes', byte_count,
                    'rows', row_count, 'sha256', encode(sha256, 'hex')) ORDER BY object_key), '[]')
                FROM ops.lake_objects WHERE batch_id = %(batch)s) AS objects,
            %(rows_sha256)s::bytea AS rows_sha256, %(previous)s::bytea AS previous_chain_sha256,
            ''::bytea AS chain_sha256, %(seq)s::bigint AS seq, %(known_at)s::timestamptz AS known_at
    )
    INSERT INTO ops.batches
    SELECT batch_id, dataset, source, feed, dag_id, run_id, window_start, window_end, staged_count, inserted_count,
        revised_count, unchanged_count, tombstone_count, quarantined_count, objects, rows_sha256,
        previous_chain_sha256, ops.chain_hash(ROW(entry.*)::ops.batches), seq, known_at
    FROM entry
"""
