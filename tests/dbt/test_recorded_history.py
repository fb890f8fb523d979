"""One month of the recorded 8-hour history through the marts, against a computation that shares no code with them."""

from __future__ import annotations

import csv
import gzip
import statistics
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.dbt.raw_rows import insert
from tests.support import RECORDED, needs_recordings

from coinswarm.orchestration.marts import build_marts
from coinswarm.storage import reference

pytestmark = [pytest.mark.dbt, needs_recordings]

MONTH = "2023-03"
VENUES = ("binance", "okx", "bybit")
SYMBOLS = {("BTC/USDT", "spot"): "BTC-USDT", ("BTCUSDT", "perpetual"): "BTC-USDT-PERP"}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    with gzip.open(RECORDED / "multi_exchange__ohlcv_funding_8h__1.csv.gz", "rt") as file:
        return [
            {
                **row,
                "symbol": SYMBOLS[row["pair"], row["contract"]],
                "at": datetime.fromisoformat(row["time"] + "+00:00"),
            }
            for row in csv.DictReader(file)
            if row["time"].startswith(MONTH) and (row["pair"], row["contract"]) in SYMBOLS
        ]


@pytest.fixture(scope="module")
def planner(warehouse: Any, rows: list[dict[str, Any]], dbt_target: Path) -> Any:
    known_at = datetime(2026, 1, 1, tzinfo=UTC)
    with psycopg.connect(warehouse.owner.dsn) as owner:
        reference.load(owner)
        owner.commit()
        bars = [
            {
                "source": row["exchange"],
                "symbol": row["symbol"],
                "timeframe": "8h",
                "event_at": row["at"],
                "volume_base": Decimal(row["volume"]),
                **{name: Decimal(row[name]) for name in ("open", "high", "low", "close")},
            }
            for row in rows
        ]
        insert(owner, "ohlcv", bars, known_at=known_at)
        funding = [
            {
                "source": row["exchange"],
                "symbol": row["symbol"],
                "event_at": row["at"],
                "kind": "settled",
                "rate": Decimal(row["funding rate"]),
                "interval_hours": Decimal(8),
            }
            for row in rows
            if row["funding rate"]
        ]
        insert(owner, "funding_rates", funding, known_at=known_at)
    build_marts(warehouse.transform, select="tag:market", target_dir=dbt_target)
    return warehouse.planner


def fetch(planner: Any, text: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(planner.dsn) as connection:
        return connection.execute(text).fetchall()


def test_settled_funding_when_computed_from_the_file_then_agrees(planner: Any, rows: list[dict[str, Any]]) -> None:
    expected, flips = [], 0
    for venue in VENUES:
        prints = sorted(
            (row["at"], Decimal(row["funding rate"]))
            for row in rows
            if row["exchange"] == venue and row["symbol"] == "BTC-USDT-PERP" and row["funding rate"]
        )
        last_sign = 0
        for at, rate in prints:
            sign = (rate > Decimal("0.00001")) - (rate < Decimal("-0.00001"))
            flip = int(sign != 0 and last_sign != 0 and sign != last_sign)
            last_sign = sign or last_sign
            flips += flip
            expected.append((venue, at, rate, rate * 1095, flip))
    found = fetch(
        planner,
        "select source, bucket_at, funding_rate_settled, funding_apr, settled_flips "
        "from marts.positioning_by_venue_current "
        "where symbol = 'BTC-USDT' and funding_rate_settled is not null order by 1, 2",
    )
    assert found == sorted(expected)
    assert len(found) == 3 * 93
    assert flips > 0
    assert fetch(
        planner,
        "select sum(settled_flips), sum(settlements) from marts.planner_positioning_current where symbol = 'BTC-USDT'",
    ) == [(flips, 3 * 93)]


def test_median_funding_when_computed_from_the_file_then_agrees(planner: Any, rows: list[dict[str, Any]]) -> None:
    by_time: dict[datetime, list[Decimal]] = defaultdict(list)
    for row in rows:
        if row["funding rate"]:
            by_time[row["at"]].append(Decimal(row["funding rate"]) * 1095)
    found = dict(
        fetch(
            planner,
            "select bucket_at, funding_apr_median from marts.planner_positioning_current where symbol = 'BTC-USDT'",
        )
    )
    for at, rates in by_time.items():
        # A rate stands until the next settlement.
        assert {found[at + timedelta(hours=n)] for n in range(8)} == {statistics.median(rates)}


def test_daily_bars_when_computed_from_the_file_then_agree(planner: Any, rows: list[dict[str, Any]]) -> None:
    days: dict[datetime, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["exchange"] == "binance" and row["symbol"] == "BTC-USDT":
            days[row["at"].replace(hour=0)].append(row)
    expected = [
        (
            day,
            "binance",
            Decimal(parts[0]["open"]),
            max(Decimal(part["high"]) for part in parts),
            min(Decimal(part["low"]) for part in parts),
            Decimal(parts[-1]["close"]),
            sum(Decimal(part["volume"]) for part in parts),
        )
        for day, parts in sorted(days.items())
    ]
    assert len(expected) == 31
    assert (
        fetch(
            planner,
            "select bucket_at, source, open, high, low, close, volume_base from marts.market_aggregates_current "
            "where symbol = 'BTC-USDT' and timeframe = '1d' order by 1",
        )
        == expected
    )


def test_basis_when_computed_from_the_file_then_agrees(planner: Any, rows: list[dict[str, Any]]) -> None:
    closes = {(row["exchange"], row["symbol"], row["at"]): Decimal(row["close"]) for row in rows}
    found = fetch(
        planner,
        "select source, bucket_at, basis_bps, spot_source from marts.positioning_by_venue_current "
        "where symbol = 'BTC-USDT' and basis_bps is not null",
    )
    assert len(found) == 3 * 93
    for venue, bucket_at, basis, spot_source in found:
        at = bucket_at - timedelta(hours=7)
        perpetual, spot = closes[venue, "BTC-USDT-PERP", at], closes[venue, "BTC-USDT", at]
        assert spot_source == venue
        assert abs(basis - 10_000 * (perpetual - spot) / spot) < Decimal("0.00000001")
