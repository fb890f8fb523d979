"""Verification: does the store still hold exactly what the ledger says was published?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from coinswarm.datasets import STORED, Dataset, dataset_named
from coinswarm.errors import IntegrityError, UserError
from coinswarm.storage.database import Session
from coinswarm.storage.insertion import DIGEST
from coinswarm.storage.lake import Lake


@dataclass(frozen=True, slots=True)
class Finding:
    """One contradiction; `batch_id` is None where it is about a dataset as a whole."""

    dataset: str
    batch_id: UUID | None
    what: str

    def __str__(self) -> str:
        return f"{self.dataset} batch {self.batch_id or '-'}: {self.what}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was checked, and what does not agree."""

    datasets: tuple[str, ...]
    batches: int
    rows: int
    objects: int = 0
    findings: tuple[Finding, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """True if nothing contradicts the ledger."""
        return not self.findings

    def require(self) -> Report:
        """This report, if it passed.

        Raises:
            IntegrityError: naming dataset and batch of the first ten findings.
        """
        if self.findings:
            raise IntegrityError("; ".join(str(finding) for finding in self.findings[:10]))
        return self


def check(conn: Session, *, dataset: str | None = None, lake: Lake | None = None) -> Report:
    """Compare raw, ledger and (if `lake` is given) the listed objects, as the role auditor. Nothing is changed.

    Per batch: the row count, the sha-256 over all columns of its rows, every row's own record hash, the chain hash and
    its link to the batch before, `seq` without a gap, `known_at` increasing and the same in all rows. Per dataset: no
    row without a batch, and as-of reconstruction: the keys visible now are those that the ledger's counts explain. What
    expired is accounted for: its entries are chained in the same way, name their batches, and of these no row is left.
    """
    chosen = STORED if dataset is None else (dataset_named(dataset),)
    if not set(chosen) <= set(STORED):
        raise UserError(f"dataset {dataset} has no raw table; those that have: {', '.join(d.name for d in STORED)}")
    batches = rows = objects = 0
    findings: list[Finding] = []
    with conn.transaction():
        # One snapshot, so that a publish that commits meanwhile is not half seen.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for one in chosen:
            if one.partition_every == "day":
                # Nor may a day expire between the snapshot and the reading of it.
                conn.execute(f"LOCK TABLE raw.{one.name} IN ACCESS SHARE MODE")
        for one in chosen:
            findings += _chain_findings(conn, one)
            findings += _expiry_findings(conn, one)
            findings += _row_findings(conn, one)
            findings += _as_of_findings(conn, one)
            counted = conn.execute(
                "SELECT count(*), coalesce(sum(inserted_count), 0)::bigint FROM ops.batches WHERE dataset = %s",
                [one.name],
            ).fetchone()
            batches, rows = batches + (counted or (0, 0))[0], rows + (counted or (0, 0))[1]
        if lake is not None:
            for finding in _object_findings(conn, lake, chosen):
                objects += 1
                findings += [finding] if finding else []
    return Report(tuple(one.name for one in chosen), batches, rows, objects, tuple(findings))


def verify(conn: Session, *, dataset: str | None = None, lake: Lake | None = None) -> Report:
    """As `check`, and fail if anything contradicts the ledger.

    Raises:
        IntegrityError: naming dataset and batch.
    """
    return check(conn, dataset=dataset, lake=lake).require()


def _chain_findings(conn: Session, dataset: Dataset) -> list[Finding]:
    found = conn.execute(
        """
        SELECT batch_id, recomputed, linked, ordered, numbered FROM (
            SELECT batch_id,
                chain_sha256 = ops.chain_hash(b) AS recomputed,
                previous_chain_sha256 IS NOT DISTINCT FROM lag(chain_sha256) OVER by_seq AS linked,
                known_at > coalesce(lag(known_at) OVER by_seq, '-infinity') AS ordered,
                seq = row_number() OVER by_seq AS numbered
            FROM ops.batches AS b WHERE dataset = %s
            WINDOW by_seq AS (ORDER BY seq)
        ) AS links
        WHERE NOT (recomputed AND linked AND ordered AND numbered)
        """,
        [dataset.name],
    ).fetchall()
    reasons = (
        "its ledger row was changed (chain hash)",
        "the chain is broken before it",
        "known_at does not increase",
        "a ledger row before it is missing",
    )
    return [
        Finding(dataset.name, batch_id, reason)
        for batch_id, *truths in found
        for truth, reason in zip(truths, reasons, strict=True)
        if not truth
    ]


def _expiry_findings(conn: Session, dataset: Dataset) -> list[Finding]:
    found = conn.execute(
        f"""
        SELECT range_start, recomputed AND linked AND numbered, row_count = published, remaining = 0 FROM (
            SELECT e.range_start, e.row_count, chain_sha256 = ops.expiry_hash(e) AS recomputed,
                previous_chain_sha256 IS NOT DISTINCT FROM lag(chain_sha256) OVER by_seq AS linked,
                seq = row_number() OVER by_seq AS numbered,
                (SELECT coalesce(sum(inserted_count), 0) FROM ops.batches AS b
                    WHERE b.dataset = e.dataset AND b.batch_id = ANY(e.batch_ids)) AS published,
                (SELECT count(*) FROM raw.{dataset.name} AS r
                    WHERE r.{dataset.partition_by} >= e.range_start AND r.{dataset.partition_by} < e.range_end)
                    AS remaining
            FROM ops.expiries AS e WHERE dataset = %s
            WINDOW by_seq AS (ORDER BY seq)
        ) AS entries
        WHERE NOT (recomputed AND linked AND numbered AND row_count = published AND remaining = 0)
        """,
        [dataset.name],
    ).fetchall()
    reasons = (
        "its entry or the one before it was changed",
        "its rows are not those of its batches",
        "rows are left of it",
    )
    return [
        Finding(dataset.name, None, f"expiry of {start:%Y-%m-%d}: {reason}")
        for start, *truths in found
        for truth, reason in zip(truths, reasons, strict=True)
        if not truth
    ]


def _row_findings(conn: Session, dataset: Dataset) -> list[Finding]:
    row = conn.execute("SELECT ops.record_hash_expression(%s, true)", [dataset.name]).fetchone()
    found = conn.execute(
        f"""
        SELECT coalesce(l.batch_id, r.batch_id), l.batch_id IS NULL, coalesce(r.row_count, 0), l.inserted_count,
            coalesce(r.altered, 0), r.rows_sha256 IS NOT DISTINCT FROM l.rows_sha256, r.same_known_at
        FROM (
            SELECT b.batch_id,
                CASE WHEN e.batch_id IS NULL THEN b.inserted_count ELSE 0 END AS inserted_count,
                CASE WHEN e.batch_id IS NULL THEN b.rows_sha256 ELSE sha256('') END AS rows_sha256
            FROM ops.batches AS b
            LEFT JOIN (SELECT unnest(batch_ids) AS batch_id FROM ops.expiries WHERE dataset = %s) AS e USING (batch_id)
            WHERE b.dataset = %s
        ) AS l
        FULL JOIN (
            SELECT d.batch_id, count(*) AS row_count,
                count(*) FILTER (WHERE recomputed <> record_hash) AS altered,
                sha256(string_agg(digest, ''::bytea ORDER BY digest)) AS rows_sha256,
                bool_and(d.known_at = b.known_at) AS same_known_at
            FROM (
                SELECT batch_id, known_at, record_hash, {row[0] if row else ""} AS recomputed, {DIGEST} AS digest
                FROM raw.{dataset.name}
            ) AS d LEFT JOIN ops.batches AS b USING (batch_id)
            GROUP BY d.batch_id
        ) AS r USING (batch_id)
        WHERE l.batch_id IS NULL OR coalesce(r.row_count, 0) <> l.inserted_count OR r.altered > 0
            OR coalesce(r.rows_sha256, sha256('')) <> l.rows_sha256 OR NOT r.same_known_at
        """,
        [dataset.name, dataset.name],
    ).fetchall()
    findings = []
    for batch_id, orphan, present, published, altered, same, same_known_at in found:
        if orphan:
            findings.append(
                Finding(dataset.name, batch_id, f"{present} rows are of a batch that the ledger does not have")
            )
        elif present != published:
            findings.append(Finding(dataset.name, batch_id, f"{present} rows are there, {published} were published"))
        elif altered:
            findings.append(Finding(dataset.name, batch_id, f"{altered} rows do not match their own record hash"))
        elif not same_known_at:
            findings.append(Finding(dataset.name, batch_id, "rows have another known_at than their batch"))
        elif not same:
            findings.append(Finding(dataset.name, batch_id, "its rows were changed (sha-256 over all columns)"))
    return findings


def _as_of_findings(conn: Session, dataset: Dataset) -> list[Finding]:
    # Every inserted row that is no revision began a key; what is visible now are those keys less the withdrawn ones.
    key = ", ".join(("source", "symbol", *dataset.key))
    row = conn.execute(
        f"""
        SELECT
            (SELECT coalesce(sum(inserted_count - revised_count), 0) FROM ops.batches WHERE dataset = %s)
                - (SELECT coalesce(sum(key_count), 0) FROM ops.expiries WHERE dataset = %s),
            count(*), count(*) FILTER (WHERE is_tombstone), (SELECT count(*) FROM raw.{dataset.name}_asof('infinity'))
        FROM (
            SELECT DISTINCT ON ({key}) is_tombstone FROM raw.{dataset.name} ORDER BY {key}, known_at DESC
        ) AS newest
        """,
        [dataset.name, dataset.name],
    ).fetchone()
    begun, keys, withdrawn, visible = row or (0, 0, 0, 0)
    if begun != keys:
        return [Finding(dataset.name, None, f"the ledger began {begun} keys, raw holds {keys}")]
    if visible != keys - withdrawn:
        return [Finding(dataset.name, None, f"as-of shows {visible} keys instead of {keys - withdrawn}")]
    return []


def _object_findings(conn: Session, lake: Lake, datasets: tuple[Dataset, ...]) -> Iterator[Finding | None]:
    listed = conn.execute(
        "SELECT dataset, batch_id, object_key, sha256 FROM ops.lake_objects WHERE dataset = ANY(%s)"
        " ORDER BY object_key",
        [[dataset.name for dataset in datasets]],
    ).fetchall()
    for dataset, batch_id, key, expected in listed:
        try:
            body = lake.get(key)
        except UserError:
            yield Finding(dataset, batch_id, f"object {key} is missing")
            continue
        same = hashlib.sha256(body).digest() == expected
        yield None if same else Finding(dataset, batch_id, f"object {key} was changed")
