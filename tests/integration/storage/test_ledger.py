"""The verifier finds what was changed behind the back of the ledger, and names the batch."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tests.integration.storage.batches import bar, published

from coinswarm.errors import IntegrityError
from coinswarm.storage.database import Session
from coinswarm.storage.ledger import check, verify

pytestmark = pytest.mark.integration


@contextmanager
def _triggers_off(owner: Session, table: str) -> Iterator[None]:
    owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    try:
        yield
    finally:
        for trigger in ("forbid_change", "forbid_change_of_row"):
            owner.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}")


@pytest.fixture
def three(ingest, lake):
    """Three batches with two rows each, of a symbol that no other test has."""
    symbol = f"V{secrets.token_hex(4)}"
    return [
        published(
            ingest, lake, [bar("1.5", minute=minute, symbol=symbol), bar(f"2.{minute}", minute=50, symbol=symbol)]
        )
        for minute in range(3)
    ]


def test_verify_when_nothing_was_touched_then_passes(three, auditor, lake):
    report = verify(auditor, lake=lake)
    assert report.passed
    assert report.batches >= 3
    assert report.objects >= 3


# Each change is one that a superuser could make with the triggers off; all are undone by the inverse statement.
CHANGES = {
    "one digit": ("close = close + 0.1", "close = close - 0.1"),
    "a trailing zero": ("close = close + 0.00", "close = trim_scale(close)"),
    "a null filled in": ("trade_count = 0", "trade_count = NULL"),
    "received_at": ("received_at = received_at + interval '1 us'", "received_at = received_at - interval '1 us'"),
    "available_at": ("available_at = event_at", "available_at = NULL"),
    "the basis": ("available_basis = 'documented'", "available_basis = 'observed'"),
    "known_at": ("known_at = known_at + interval '1 us'", "known_at = known_at - interval '1 us'"),
    "the score": ("quality_score = 0.5", "quality_score = NULL"),
    "the version": ("schema_version = 2", "schema_version = 1"),
    "a tombstone": ("is_tombstone = true", "is_tombstone = false"),
    "the symbol": ("symbol = symbol || 'x'", "symbol = rtrim(symbol, 'x')"),
    "the hash": ("record_hash = sha256(record_hash)", None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_verify_when_one_value_of_a_row_is_changed_then_names_the_batch(three, auditor, owner, change):
    forward, back = CHANGES[change]
    known_at, stored = owner.execute(
        "SELECT known_at, record_hash FROM raw.ohlcv_2026 WHERE batch_id = %s ORDER BY event_at LIMIT 1",
        [three[1].batch_id],
    ).fetchone()
    where = "WHERE batch_id = %s AND extract(minute FROM event_at) <> 50"
    with _triggers_off(owner, "raw.ohlcv_2026"):
        owner.execute(f"UPDATE raw.ohlcv_2026 SET {forward} {where}", [three[1].batch_id])
    try:
        with pytest.raises(IntegrityError, match=f"ohlcv batch {three[1].batch_id}"):
            verify(auditor)
        assert all(f.batch_id in (three[1].batch_id, None) for f in check(auditor, dataset="ohlcv").findings)
        assert check(auditor, dataset="tvl").passed
    finally:
        with _triggers_off(owner, "raw.ohlcv_2026"):
            if back is None:
                owner.execute(f"UPDATE raw.ohlcv_2026 SET record_hash = %s {where}", [stored, three[1].batch_id])
            else:
                owner.execute(f"UPDATE raw.ohlcv_2026 SET {back} {where}", [three[1].batch_id])
    assert verify(auditor).passed
    assert known_at == three[1].known_at


def test_verify_when_a_row_is_removed_or_added_then_names_the_batch(three, auditor, owner):
    owner.execute("CREATE TABLE public.kept AS SELECT * FROM raw.ohlcv_2026 WHERE batch_id = %s", [three[0].batch_id])
    with _triggers_off(owner, "raw.ohlcv_2026"):
        owner.execute("DELETE FROM raw.ohlcv_2026 WHERE batch_id = %s", [three[0].batch_id])
    assert f"{three[0].batch_id}: 0 rows are there, 2 were published" in str(check(auditor).findings[0])
    owner.execute("INSERT INTO raw.ohlcv SELECT * FROM public.kept")
    assert verify(auditor).passed
    owner.execute("UPDATE public.kept SET batch_id = gen_random_uuid(), known_at = now()")
    owner.execute("INSERT INTO raw.ohlcv SELECT * FROM public.kept")
    (finding, *_) = check(auditor).findings
    assert "of a batch that the ledger does not have" in str(finding)
    with _triggers_off(owner, "raw.ohlcv_2026"):
        owner.execute("DELETE FROM raw.ohlcv_2026 AS r USING public.kept AS k WHERE r.batch_id = k.batch_id")
    owner.execute("DROP TABLE public.kept")


@pytest.mark.parametrize("change", ["inserted_count = 9", "run_id = 'other'", "objects = '[]'", "known_at = now()"])
def test_verify_when_the_ledger_is_changed_then_names_the_batch(three, auditor, owner, change):
    batch = three[1].batch_id
    with owner.transaction(force_rollback=True), _triggers_off(owner, "ops.batches"):
        owner.execute(f"UPDATE ops.batches SET {change} WHERE batch_id = %s", [batch])
        found = check_in(owner)
        assert any(f.batch_id == batch and "chain hash" in f.what for f in found)


def test_verify_when_a_ledger_row_is_removed_then_the_chain_is_broken(three, auditor, owner):
    with owner.transaction(force_rollback=True), _triggers_off(owner, "ops.batches"):
        owner.execute("DELETE FROM ops.batches WHERE batch_id = %s", [three[1].batch_id])
        found = check_in(owner)
    assert any(f.batch_id == three[2].batch_id and "chain is broken" in f.what for f in found)
    assert any(f.batch_id == three[1].batch_id and "does not have" in f.what for f in found)


def check_in(conn: Session):
    from coinswarm.datasets import dataset_named
    from coinswarm.storage import ledger

    ohlcv = dataset_named("ohlcv")
    return [*ledger._chain_findings(conn, ohlcv), *ledger._row_findings(conn, ohlcv)]


def test_verify_when_a_lake_object_is_changed_or_lost_then_names_the_batch(three, auditor, lake):
    (key,) = auditor.execute(
        "SELECT object_key FROM ops.lake_objects WHERE batch_id = %s", [three[0].batch_id]
    ).fetchone()
    body = lake.get(key)
    client = lake._client
    client.put_object(Bucket=lake.bucket, Key=key, Body=body + b"x")
    assert f"{three[0].batch_id}: object {key} was changed" in str(check(auditor, lake=lake).findings[0])
    client.delete_object(Bucket=lake.bucket, Key=key)
    with pytest.raises(IntegrityError, match="is missing"):
        verify(auditor, lake=lake)
    client.put_object(Bucket=lake.bucket, Key=key, Body=body)
    assert verify(auditor, lake=lake).passed
