"""Revisions, tombstones, duplicates and the ledger of one publish after another."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import psycopg
import pyarrow.parquet as pq
import pytest
from tests.integration.storage.batches import NOON, bar, closes, new_batch, published, revisions, staged

from coinswarm.datasets import STORED, dataset_named
from coinswarm.datasets.records import Record
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.storage import parquet
from coinswarm.storage.publish import publish

pytestmark = pytest.mark.integration


def test_publish_when_a_value_goes_a_b_a_then_keeps_three_revisions(ingest, lake):
    first = published(ingest, lake, [bar("1.10", symbol="A")])
    again = published(ingest, lake, [bar("1.1", symbol="A")])
    second = published(ingest, lake, [bar("2", symbol="A")])
    third = published(ingest, lake, [bar("1.10", symbol="A")])

    assert (first.inserted, again.inserted, again.unchanged, second.revised, third.revised) == (1, 0, 1, 1, 1)
    assert revisions(ingest, "A") == ["1.1", "2", "1.1"]
    assert [closes(ingest, "A", as_of=p.known_at) for p in (first, second, third)] == [["1.1"], ["2"], ["1.1"]]
    assert closes(ingest, "A", as_of=first.known_at - timedelta(microseconds=1)) == []
    assert first.known_at < again.known_at < second.known_at < third.known_at


def test_publish_when_only_our_own_clocks_differ_then_inserts_nothing(ingest, lake):
    record = bar("5", symbol="CLOCKS")
    published(ingest, lake, [record])
    later = replace(record, available_at=NOON + timedelta(days=1), available_basis="assumed")
    assert published(ingest, lake, [later]).unchanged == 1
    assert published(ingest, lake, [replace(record, published_at=NOON)]).revised == 1


def test_publish_when_a_record_is_withdrawn_and_comes_back_then_both_are_revisions(ingest, lake):
    published(ingest, lake, [bar("7", symbol="T")])
    gone = published(ingest, lake, [bar("7", symbol="T", gone=True)])
    assert (gone.tombstones, gone.revised) == (1, 1)
    assert closes(ingest, "T") == []
    assert published(ingest, lake, [bar("7", symbol="T", gone=True)]).unchanged == 1
    assert published(ingest, lake, [bar("7", symbol="T")]).revised == 1
    assert closes(ingest, "T") == ["7"]
    assert revisions(ingest, "T") == ["7", None, "7"]
    assert closes(ingest, "T", as_of=gone.known_at) == []


def test_publish_when_a_batch_repeats_a_key_then_last_wins_and_the_loser_is_quarantined(ingest, lake):
    batch = staged(ingest, [bar("1", symbol="D"), bar("2", symbol="D"), bar("2.0", symbol="D"), bar("3", symbol="D2")])
    result = publish(ingest, lake, batch)
    assert (result.staged, result.inserted, result.unchanged) == (4, 2, 0)
    assert revisions(ingest, "D") == ["2"]
    lost = ingest.execute(
        "SELECT row_no, stage, payload ->> 'close' FROM quarantine.records WHERE batch_id = %s", [batch.batch_id]
    ).fetchall()
    assert lost == [(0, "publish", "1")]


def test_publish_when_run_again_then_gives_the_same_result_and_changes_nothing(ingest, lake):
    batch = staged(ingest, [bar("1", symbol="AGAIN")])
    first = publish(ingest, lake, batch)
    staged(ingest, [bar("9", symbol="AGAIN")], batch)
    assert publish(ingest, lake, batch) == first
    assert revisions(ingest, "AGAIN") == ["1"]
    left = ingest.execute("SELECT count(*) FROM staging.ohlcv WHERE batch_id = %s", [batch.batch_id]).fetchone()
    assert left == (0,)


def test_publish_when_nothing_was_asked_for_then_ledger_has_an_empty_batch(ingest, lake):
    result = published(ingest, lake, [])
    row = ingest.execute(
        "SELECT inserted_count, rows_sha256, objects FROM ops.batches WHERE batch_id = %s", [result.batch_id]
    ).fetchone()
    assert row == (0, hashlib.sha256(b"").digest(), [])


def test_publish_when_never_staged_then_says_so(ingest, lake):
    with pytest.raises(UserError, match="never staged"):
        publish(ingest, lake, new_batch())


def test_publish_when_staged_rows_are_lost_then_refuses_instead_of_publishing_nothing(ingest, lake):
    batch = staged(ingest, [bar("1", symbol="LOST")])
    ingest.execute("DELETE FROM staging.ohlcv WHERE batch_id = %s", [batch.batch_id])
    with pytest.raises(StoreUnavailable, match="stage again"):
        publish(ingest, lake, batch)


def test_publish_when_inside_a_transaction_then_refuses(ingest, lake):
    batch = staged(ingest, [bar("1", symbol="INSIDE")])
    with ingest.transaction(), pytest.raises(RuntimeError, match="inside a transaction"):
        publish(ingest, lake, batch)


def test_publish_when_a_record_has_no_vintage_then_null_is_one_key(ingest, lake):
    def observation(value: str, published_at=None):
        return Record("global", NOON, {"series_id": "DGS10", "value": Decimal(value)}, published_at=published_at)

    batch = new_batch("series_observations", source="fred")
    result = publish(ingest, lake, staged(ingest, [observation("1"), observation("2", NOON)], batch))
    assert result.inserted == 2
    again = new_batch("series_observations", source="fred")
    assert publish(ingest, lake, staged(ingest, [observation("3"), observation("2", NOON)], again)).revised == 1
    rows = ingest.execute("SELECT published_at IS NULL, value::text FROM raw.series_observations_current ORDER BY 1")
    assert rows.fetchall() == [(False, "2"), (True, "3")]


@pytest.mark.parametrize("dataset", STORED, ids=lambda dataset: dataset.name)
def test_publish_when_a_value_of_every_kind_is_extreme_then_it_is_stored_exactly(ingest, lake, dataset):
    extreme = {
        "text": "a\\x1f\x1f'\"\n\t\\ é 日本",
        "numeric": Decimal("123456789012345678901234567890.123456789012345678901234567899"),
        "bigint": 2**63 - 1,
        "timestamptz": NOON + timedelta(microseconds=1),
        "boolean": True,
        "jsonb": ["\\", '"', {"ü": 1}],
    }
    values = {column.name: extreme[column.kind.value] for column in dataset.columns}
    batch = new_batch(dataset.name)
    publish(ingest, lake, staged(ingest, [Record("X", NOON, values)], batch))
    row = ingest.execute(
        f"SELECT {', '.join(dataset.column_names)} FROM raw.{dataset.name} WHERE batch_id = %s", [batch.batch_id]
    ).fetchone()
    assert dict(zip(dataset.column_names, row, strict=True)) == values
    stored = ingest.execute("SELECT objects FROM ops.batches WHERE batch_id = %s", [batch.batch_id]).fetchone()[0]
    (entry,) = stored
    body = lake.get(entry["key"])
    assert entry["sha256"] == hashlib.sha256(body).hexdigest()
    table = pq.read_table(io.BytesIO(body))
    assert table.schema.equals(parquet.schema(dataset))
    (line,) = table.to_pylist()
    assert line["event_at"] == NOON
    assert [str(line[c.name]) for c in dataset.columns if c.kind.value in ("text", "numeric", "bigint")] == [
        str(values[c.name]) for c in dataset.columns if c.kind.value in ("text", "numeric", "bigint")
    ]


def test_publish_when_years_are_far_apart_then_partitions_are_made_and_protected(ingest, owner, lake):
    records = [replace(bar("1", symbol="OLD"), event_at=NOON.replace(year=year)) for year in (1950, 2009, 2010, 2031)]
    assert published(ingest, lake, records).inserted == 4
    parts = ingest.execute("SELECT DISTINCT tableoid::regclass::text FROM raw.ohlcv WHERE symbol = 'OLD' ORDER BY 1")
    assert [part for (part,) in parts.fetchall()] == [
        "raw.ohlcv_2010",
        "raw.ohlcv_2031",
        "raw.ohlcv_before_2010",
    ]
    for statement in (
        "DELETE FROM raw.ohlcv_2010",
        "TRUNCATE raw.ohlcv_2031",
        "UPDATE raw.ohlcv_before_2010 SET low = 1",
    ):
        with pytest.raises(psycopg.errors.RestrictViolation):
            owner.execute(statement)


def test_publish_when_the_record_hash_is_computed_by_hand_then_it_agrees(ingest, lake):
    published(ingest, lake, [bar("1.50", symbol="HASH")])
    microseconds = (NOON - NOON.replace(year=2000, month=1, day=1, hour=0)) // timedelta(microseconds=1)
    text = "\x1f".join(
        (
            "7:binance",
            "4:HASH",
            microseconds.to_bytes(8, "big", signed=True).hex(),
            "",  # published_at
            "false",
            "2:1m",
            *["1.5"] * 5,
        )
    )
    (stored,) = ingest.execute("SELECT record_hash FROM raw.ohlcv WHERE symbol = 'HASH'").fetchone()
    assert stored == hashlib.sha256(text.encode()).digest()


def test_dataset_named_ohlcv_when_publishing_another_source_then_keys_are_apart(ingest, lake):
    published(ingest, lake, [bar("1", symbol="S")])
    other = published(ingest, lake, [bar("2", symbol="S")], new_batch(source="okx"))
    assert (other.inserted, other.revised) == (1, 0)
    assert dataset_named("ohlcv").key == ("timeframe", "event_at")


def test_publish_when_the_gate_scored_the_batch_then_rows_and_file_carry_the_newest_score(ingest, lake):
    batch = staged(ingest, [bar("1", symbol="SCORED"), bar("2", symbol="SCORED", minute=1)])
    for score in ("0.25", "0.750000"):
        ingest.execute(
            "INSERT INTO ops.quality_scores (batch_id, score_version, score) VALUES (%s, 1, %s)",
            [batch.batch_id, Decimal(score)],
        )
    publish(ingest, lake, batch)
    rows = ingest.execute("SELECT quality_score FROM raw.ohlcv WHERE symbol = 'SCORED'").fetchall()
    assert rows == [(Decimal("0.75"),)] * 2
    (key,) = ingest.execute(
        "SELECT object_key FROM ops.lake_objects WHERE batch_id = %s AND kind = 'parquet'", [batch.batch_id]
    ).fetchone()
    table = pq.read_table(io.BytesIO(lake.get(key)))
    assert table["quality_score"].to_pylist() == ["0.750000"] * 2
