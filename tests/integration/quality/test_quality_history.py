"""Checks that read history: causal outliers and the comparison of venues."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.conftest import Warehouse
from tests.integration.quality.staged import START, batch_for, good_rows, publish_bars, stage_rows

from coinswarm.batches import Batch
from coinswarm.datasets import dataset_named
from coinswarm.quality.suites import suite_of
from coinswarm.storage.database import connect

pytestmark = pytest.mark.integration

QUARTER = timedelta(minutes=15)


def walk(number: int, *, seed: int, bps: float = 10.0) -> list[Decimal]:
    """A random walk from 100 with returns of `bps` standard deviation."""
    generator, price, prices = random.Random(seed), 100.0, []
    for _ in range(number):
        price *= 1 + generator.gauss(0, bps / 1e4)
        prices.append(Decimal(f"{price:.6f}"))
    return prices


def bars(batch: Batch, closes: list[Decimal], symbol: str = "BTC-USDT") -> list[dict[str, Any]]:
    rows = good_rows(batch, symbol)
    return [{**row, **dict.fromkeys(("open", "high", "low", "close"), c)} for row, c in zip(rows, closes, strict=True)]


def flagged(warehouse: Warehouse, batch: Batch, check_name: str) -> list[int]:
    suite = suite_of(dataset_named(batch.dataset), batch)
    (check,) = [check for check in suite.checks if check.name == check_name]
    with connect(warehouse.ingest, autocommit=True) as session:
        return sorted(row_no for (row_no,) in session.execute(suite.over(check.rows)).fetchall())


def outliers(warehouse: Warehouse, batch: Batch) -> list[int]:
    return flagged(warehouse, batch, "close.outlier")


def test_outlier_check_finds_a_spike_in_a_long_batch(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=300)
    closes = walk(300, seed=1)
    closes[200] *= Decimal("1.03")
    stage_rows(warehouse.ingest, batch, bars(batch, closes))
    found = outliers(warehouse, batch)
    # up and down again
    assert {200, 201} <= set(found)
    assert len(found) <= 4


def test_outlier_check_judges_nothing_without_enough_past(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=40)
    closes = walk(40, seed=2)
    closes[20] *= 2
    stage_rows(warehouse.ingest, batch, bars(batch, closes))
    assert outliers(warehouse, batch) == []


def test_outlier_check_of_a_short_batch_stands_on_published_history(warehouse: Warehouse) -> None:
    past = walk(200, seed=3)
    publish_bars(
        warehouse.owner, "bybit", "BTC-USDT", {START - (200 - i) * QUARTER: price for i, price in enumerate(past)}
    )
    usual, jump = past[-1] * Decimal("1.001"), past[-1] * Decimal("1.02")
    for price, expected in ((usual, []), (jump, [0])):
        batch = batch_for("ohlcv", source="bybit")
        stage_rows(warehouse.ingest, batch, bars(batch, [price]))
        assert outliers(warehouse, batch) == expected


def test_outlier_check_uses_the_newest_revision_of_history(warehouse: Warehouse) -> None:
    past = walk(200, seed=4)
    times = [START - (200 - i) * QUARTER for i in range(200)]
    wrong = [price * (3 if i % 2 else 1) for i, price in enumerate(past)]  # returns of 100 %: nothing would be unusual
    publish_bars(warehouse.owner, "okx", "ETH-USDT", dict(zip(times, wrong, strict=True)))
    publish_bars(warehouse.owner, "okx", "ETH-USDT", dict(zip(times, past, strict=True)))
    batch = batch_for("ohlcv", source="okx")
    stage_rows(warehouse.ingest, batch, bars(batch, [past[-1] * Decimal("1.02")], "ETH-USDT"))
    assert outliers(warehouse, batch) == [0]


def test_outlier_verdict_on_a_bar_does_not_depend_on_later_bars(warehouse: Warehouse) -> None:
    closes = walk(400, seed=5)
    for spike in (150, 222, 310):
        closes[spike] *= Decimal("0.98")
    whole = batch_for("ohlcv", slots=400)
    stage_rows(warehouse.ingest, whole, bars(whole, closes))
    of_all = outliers(warehouse, whole)
    assert {150, 222, 310} <= set(of_all)
    for length in (151, 223, 300):
        part = batch_for("ohlcv", slots=length)
        stage_rows(warehouse.ingest, part, bars(part, closes[:length]))
        assert outliers(warehouse, part) == [row_no for row_no in of_all if row_no < length]
    # The future may be as wild as it likes.
    wild = batch_for("ohlcv", slots=400)
    stage_rows(warehouse.ingest, wild, bars(wild, closes[:300] + [price * 7 for price in closes[300:]]))
    assert [row_no for row_no in outliers(warehouse, wild) if row_no < 300] == [n for n in of_all if n < 300]


def test_outlier_check_ignores_later_history(warehouse: Warehouse) -> None:
    later = {START + i * QUARTER: price for i, price in enumerate(walk(300, seed=6))}
    publish_bars(warehouse.owner, "kraken", "BTC-USD", later)
    batch = batch_for("ohlcv", source="kraken")
    stage_rows(warehouse.ingest, batch, bars(batch, [Decimal(300)], "BTC-USD"))
    assert outliers(warehouse, batch) == []


def test_outlier_check_calls_no_move_below_ten_basis_points_unusual(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=200)
    closes = [Decimal(100)] * 150 + [Decimal("100.09")] + [Decimal("100.09")] * 49
    stage_rows(warehouse.ingest, batch, bars(batch, closes))
    assert outliers(warehouse, batch) == []


def test_outlier_check_survives_prices_that_are_not_positive(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=200)
    closes = walk(200, seed=7)
    closes[100], closes[120] = Decimal(0), Decimal(-5)
    stage_rows(warehouse.ingest, batch, bars(batch, closes))
    assert outliers(warehouse, batch) == []


def venues(warehouse: Warehouse, at: datetime, prices: dict[str, str]) -> None:
    for source, price in prices.items():
        publish_bars(warehouse.owner, source, "BTC-USDT", {at: Decimal(price)})


@pytest.mark.parametrize(
    ("hours", "others", "close", "expected"),
    [
        (1, {"okx": "100", "bybit": "100.01"}, "100.05", []),  # 4 bps
        (2, {"okx": "100", "bybit": "100.01"}, "100.5", [0]),
        (3, {"okx": "100", "bybit": "100.01"}, "99.5", [0]),
        (4, {"okx": "100"}, "150", []),  # two venues: nobody knows which is wrong
        (5, {"okx": "100", "bybit": "101"}, "102", []),  # they disagree anyway: within 3 MAD
    ],
)
def test_cross_venue_check_compares_with_the_median_of_three(
    warehouse: Warehouse, hours: int, others: dict[str, str], close: str, expected: list[int]
) -> None:
    at = START + timedelta(days=30, hours=hours)
    venues(warehouse, at, others)
    window = batch_for("ohlcv").window
    batch = batch_for("ohlcv", window=type(window)(at, at + QUARTER))
    stage_rows(warehouse.ingest, batch, bars(batch, [Decimal(close)]))
    assert flagged(warehouse, batch, "close.cross_venue") == expected


def test_cross_venue_check_never_compares_another_quote_currency(warehouse: Warehouse) -> None:
    at = START + timedelta(days=40)
    venues(warehouse, at, {"okx": "100", "bybit": "100"})
    window = batch_for("ohlcv").window
    batch = batch_for("ohlcv", source="kraken", window=type(window)(at, at + QUARTER))
    stage_rows(warehouse.ingest, batch, bars(batch, [Decimal(150)], "BTC-USD"))
    assert flagged(warehouse, batch, "close.cross_venue") == []


def test_cross_venue_check_uses_the_newest_revision(warehouse: Warehouse) -> None:
    at = START + timedelta(days=41)
    venues(warehouse, at, {"okx": "100", "bybit": "100"})
    venues(warehouse, at, {"okx": "150", "bybit": "150"})
    window = batch_for("ohlcv").window
    batch = batch_for("ohlcv", window=type(window)(at, at + QUARTER))
    stage_rows(warehouse.ingest, batch, bars(batch, [Decimal(150)]))
    assert flagged(warehouse, batch, "close.cross_venue") == []
