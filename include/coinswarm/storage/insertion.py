"""The statement that inserts what a batch changes, and the choice between its two ways to the newest revisions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from coinswarm.batches import Batch
from coinswarm.datasets import AFTER, BEFORE, Column, Dataset, Kind
from coinswarm.storage.database import Session

# From this many rows on it is worth asking whether raw can be read in one go.
_LARGE = 5_000
_MOST_VALUES = 1_000
# One probe of the index takes about as long as what the planner gives this cost, some 25 rows read in sequence ...
_COST_OF_A_PROBE = 1.5
# ... or as reading and sorting this many that lie among the batch's keys.
_ROWS_PER_PROBE = 3

DIGEST = (
    "ops.row_digest(record_hash, received_at, available_at, available_basis, known_at, batch_id, schema_version,"
    " quality_score)"
)


@dataclass(frozen=True, slots=True)
class Extent:
    """How many rows are staged, and what their keys lie between.

    `condition` holds for every row of raw (`r`) with a key of the batch; it is None where no short one is known.
    """

    rows: int
    condition: str | None
    parameters: dict[str, Any]


def extent(conn: Session, dataset: Dataset, batch: Batch) -> Extent:
    """Measure the staged rows of a batch."""
    texts = ["symbol", *(name for name in dataset.key if _column(dataset, name).kind is Kind.TEXT)]
    times = [name for name in dataset.key if _column(dataset, name).kind is Kind.TIMESTAMP]
    lists = [
        f"CASE WHEN count(*) <= {_MOST_VALUES} THEN (SELECT array_agg(DISTINCT {name}) FROM groups) END AS {name}"
        for name in texts
    ]
    limits = [f"min({name}) AS {name}, max({name}) AS last_{name}" for name in times]
    ends = [f"min({name}) AS {name}, max(last_{name}) AS last_{name}" for name in times]
    row = conn.execute(
        f"WITH groups AS MATERIALIZED (SELECT {', '.join([*texts, *limits])}, count(*) AS number"
        f" FROM staging.{dataset.name} WHERE batch_id = %s GROUP BY {', '.join(texts)})"
        f" SELECT {', '.join(['coalesce(sum(number), 0)::bigint', *lists, *ends])} FROM groups",
        [batch.batch_id],
    ).fetchone()
    rows, *values = row or (0,)
    parameters: dict[str, Any] = dict(zip(texts, values, strict=False))
    bounds = values[len(texts) :]
    terms = ["r.source = %(source)s", *(f"r.{name} = ANY(%({name})s)" for name in texts)]
    for number, name in enumerate(times):
        parameters[name], parameters[f"last_{name}"] = bounds[2 * number : 2 * number + 2]
        terms.append(f"r.{name} BETWEEN %({name})s AND %(last_{name})s")
    # Keys that may be null cannot be joined in order.
    known = all(value is not None for value in parameters.values()) and not _nullable_keys(dataset)
    return Extent(rows, " AND ".join(terms) if known else None, parameters)


def reads_range(conn: Session, dataset: Dataset, batch: Batch, staged: Extent) -> bool:
    """Whether reading all of raw between the batch's keys is cheaper than looking up each key.

    It is for a large batch if raw holds little else there: the planner's estimate says. For a batch of thousands that
    touches a table of millions it is not.
    """
    if staged.condition is None or staged.rows < _LARGE:
        return False
    row = conn.execute(
        f"EXPLAIN (FORMAT JSON) SELECT FROM raw.{dataset.name} AS r WHERE {staged.condition}",
        {"source": batch.source, **staged.parameters},
    ).fetchone()
    found = row[0] if row else "[]"
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return bool(
        plan["Total Cost"] <= staged.rows * _COST_OF_A_PROBE and plan["Plan Rows"] <= staged.rows * _ROWS_PER_PROBE
    )


def insert_statement(dataset: Dataset, condition: str | None = None) -> str:
    """The statement that inserts the new and changed rows of a batch and counts them.

    The newest revisions are looked up key by key, or with `condition` by reading all of raw that it holds for. Both
    ways find the same.

    Parameters `batch`, `source`, `known_at`, `quality_score` and those of the condition; one row comes back: distinct
    keys, inserted, revised, tombstones, sha-256 over the digests of the inserted rows, as stored, in ascending order.

    Only key, hash and place of a row are sorted and compared; the wide row is read once, when it is inserted. A staged
    row stays in its place: whoever changes rows of a batch holds the batch's lock, which is ours here.
    """
    columns = [*(c.name for c in BEFORE), *dataset.column_names, *(c.name for c in AFTER)]
    numeric = {column.name for column in dataset.columns if column.kind is Kind.NUMERIC}
    values = [
        "%(known_at)s::timestamptz"
        if name == "known_at"
        else "%(quality_score)s::numeric"
        if name == "quality_score"
        else f"trim_scale(s.{name})"
        if name in numeric
        else f"s.{name}"
        for name in columns
    ]
    # The source is the same in all rows. Comparing times is cheaper than comparing text, so event_at leads the sort.
    key = ", ".join(sorted(("symbol", *dataset.key), key=lambda name: name != "event_at"))
    if condition is None:
        newest = f"""LATERAL (
                SELECT r.record_hash FROM raw.{dataset.name} AS r
                WHERE r.source = %(source)s AND {_same_key(dataset, "r")}
                ORDER BY r.known_at DESC LIMIT 1
            ) AS newest ON true"""
    else:
        newest = f"""(
                SELECT DISTINCT ON ({key}) {key}, r.record_hash FROM raw.{dataset.name} AS r
                WHERE {condition} ORDER BY {key}, r.known_at DESC
            ) AS newest ON {_same_key(dataset, "newest")}"""
    return f"""
        WITH judged AS MATERIALIZED (
            SELECT s.place, newest.record_hash IS NOT NULL AS known,
                newest.record_hash IS DISTINCT FROM s.record_hash AS changed
            FROM (
                SELECT DISTINCT ON ({key}) ctid AS place, {key}, record_hash FROM staging.{dataset.name}
                WHERE batch_id = %(batch)s ORDER BY {key}, row_no DESC
            ) AS s
            LEFT JOIN {newest}
        ), inserted AS (
            INSERT INTO raw.{dataset.name} ({", ".join(columns)})
            SELECT {", ".join(values)}
            -- OFFSET 0 keeps the planner to reading each row by its place.
            FROM judged, LATERAL (SELECT * FROM staging.{dataset.name} WHERE ctid = judged.place OFFSET 0) AS s
            WHERE judged.changed
            RETURNING is_tombstone, {DIGEST} AS digest
        )
        SELECT keys, inserted, revised, tombstones, rows_sha256
        FROM (SELECT count(*) AS keys, count(*) FILTER (WHERE changed AND known) AS revised FROM judged) AS all_keys,
            (SELECT count(*) AS inserted, count(*) FILTER (WHERE is_tombstone) AS tombstones,
                sha256(coalesce(string_agg(digest, ''::bytea ORDER BY digest), '')) AS rows_sha256
            FROM inserted) AS all_inserted
    """


def _same_key(dataset: Dataset, other: str) -> str:
    nullable = _nullable_keys(dataset)
    terms = [f"{other}.symbol = s.symbol"]
    for name in dataset.key:
        same = f"{other}.{name} = s.{name}"
        terms.append(f"({same} OR ({other}.{name} IS NULL AND s.{name} IS NULL))" if name in nullable else same)
    return " AND ".join(terms)


def _nullable_keys(dataset: Dataset) -> set[str]:
    return {name for name in dataset.key if _column(dataset, name).nullable}


def _column(dataset: Dataset, name: str) -> Column:
    return next(column for column in (*BEFORE, *dataset.columns) if column.name == name)
