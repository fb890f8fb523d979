"""Both ways to the newest revisions find the same, and the choice between them follows what raw holds."""

from __future__ import annotations

import random
from datetime import timedelta
from decimal import Decimal

import pytest
from tests.integration.storage.batches import NOON, bar, new_batch, published, staged

from coinswarm.datasets import STORED, Dataset, Kind, dataset_named
from coinswarm.datasets.records import Record
from coinswarm.storage import insertion, ledger
from coinswarm.storage import publish as publishing
from coinswarm.storage.insertion import extent, reads_range

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("dataset", STORED, ids=lambda dataset: dataset.name)
def test_publish_when_raw_is_read_by_range_then_does_what_probes_do(ingest, auditor, lake, monkeypatch, dataset):
    dice = random.Random(dataset.name)
    rounds = [[_record(dataset, dice) for _ in range(60)] for _ in range(4)]
    rounds.append(rounds[-1])
    ranges = 0
    results = {}
    for by_range in (False, True):

        def chosen(_conn, _dataset, _batch, staged_rows, by_range=by_range):
            return by_range and staged_rows.condition is not None

        monkeypatch.setattr(publishing, "reads_range", chosen)
        source = "ranged" if by_range else "probed"
        counts = []
        for records in rounds:
            batch = staged(ingest, records, new_batch(dataset.name, source=source))
            ranges += by_range and extent(ingest, dataset, batch).condition is not None
            done = publishing.publish(ingest, lake, batch)
            counts.append((done.staged, done.inserted, done.revised, done.unchanged, done.tombstones))
        results[source] = (counts, _history(ingest, dataset, source))

    assert results["probed"] == results["ranged"]
    counts = results["probed"][0]
    assert sum(revised for _, _, revised, _, _ in counts) > 0
    assert counts[-1][1] == 0
    assert counts[-1][3] > 0
    # Keys that may be null are looked up one by one.
    assert ranges == (0 if "published_at" in dataset.key else len(rounds))
    ledger.verify(auditor, dataset=dataset.name)


def test_reads_range_when_the_batch_is_small_then_probes(ingest):
    batch = staged(ingest, [bar("1", symbol="SMALL")])
    found = extent(ingest, dataset_named("ohlcv"), batch)
    assert found.rows == 1
    assert not reads_range(ingest, dataset_named("ohlcv"), batch, found)


def test_reads_range_when_raw_holds_much_else_between_the_keys_then_probes(ingest, owner, lake, monkeypatch):
    monkeypatch.setattr(insertion, "_LARGE", 20)
    ohlcv = dataset_named("ohlcv")
    held = [bar("1", symbol="WIDE", minute=minute) for minute in range(600)]
    published(ingest, lake, held)
    owner.execute("ANALYZE raw.ohlcv")
    sparse = staged(ingest, held[::30])
    dense = staged(ingest, held)
    assert not reads_range(ingest, ohlcv, sparse, extent(ingest, ohlcv, sparse))
    assert reads_range(ingest, ohlcv, dense, extent(ingest, ohlcv, dense))


def test_extent_when_a_batch_has_very_many_names_then_has_no_condition(ingest, monkeypatch):
    monkeypatch.setattr(insertion, "_MOST_VALUES", 3)
    ohlcv = dataset_named("ohlcv")
    few, many = (staged(ingest, [bar("1", symbol=f"N{n}") for n in range(count)]) for count in (3, 4))
    assert extent(ingest, ohlcv, few).condition is not None
    found = extent(ingest, ohlcv, many)
    assert (found.rows, found.condition) == (4, None)


def test_extent_when_everything_was_refused_then_counts_nothing(ingest):
    found = extent(ingest, dataset_named("ohlcv"), new_batch())
    assert (found.rows, found.condition) == (0, None)


def _record(dataset: Dataset, dice: random.Random) -> Record:
    # Few keys and few values, so that keys repeat within a batch and values return.
    made = {
        Kind.TEXT: lambda: dice.choice(("a\\", "b\x1f")),
        Kind.NUMERIC: lambda: Decimal(dice.choice(("1", "1.0", "2.50"))),
        Kind.INTEGER: lambda: dice.randrange(2),
        Kind.TIMESTAMP: lambda: NOON + timedelta(hours=dice.randrange(2)),
        Kind.BOOLEAN: lambda: dice.random() < 0.5,
        Kind.JSON: lambda: [dice.randrange(2)],
    }
    gone = dice.random() < 0.1
    fixed = {
        name: dice.choice(("x", "y")) if dataset.column(name).kind is Kind.TEXT else made[dataset.column(name).kind]()
        for name in dataset.key
        if name in dataset.column_names
    }
    last = next(column.name for column in reversed(dataset.columns) if column.name not in dataset.key)
    values = {column.name: _DULL[column.kind] for column in dataset.columns}
    values[last] = made[dataset.column(last).kind]()
    return Record(
        dice.choice(("P", "Q")),
        NOON + timedelta(minutes=dice.randrange(6)),
        fixed if gone else values | fixed,
        published_at=dice.choice((None, NOON)) if "published_at" in dataset.key else None,
        is_tombstone=gone,
    )


_DULL = {
    Kind.TEXT: "text",
    Kind.NUMERIC: Decimal("1.50"),
    Kind.INTEGER: 3,
    Kind.TIMESTAMP: NOON,
    Kind.BOOLEAN: True,
    Kind.JSON: [],
}


def _history(conn, dataset: Dataset, source: str) -> list[tuple[object, ...]]:
    columns = ", ".join(("symbol", "event_at", "published_at", "is_tombstone", *dataset.column_names))
    key = ", ".join(("symbol", *dataset.key))
    return conn.execute(
        f"SELECT {columns}, dense_rank() OVER (ORDER BY known_at) FROM raw.{dataset.name} WHERE source = %s"
        f" ORDER BY {key}, known_at",
        [source],
    ).fetchall()
