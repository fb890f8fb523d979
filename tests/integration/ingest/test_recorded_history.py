"""Eighteen months of real 8-hour bars and funding of three venues, through their own endpoints to raw and marts."""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from tests.integration.conftest import Store
from tests.support import RECORDED, needs_recordings

from coinswarm.connections import Resolver
from coinswarm.ingest.backfill import plan, work
from coinswarm.timeframes import Window

pytestmark = [pytest.mark.integration, needs_recordings]

HISTORY = RECORDED / "multi_exchange__ohlcv_funding_8h__1.csv.gz"
WINDOW = Window(datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, 8, tzinfo=UTC))
ASSETS = {"bitcoin": "BTC", "ethereum": "ETH"}
SPOT = ("BTC-USDT", "ETH-USDT")
PERPETUALS = ("BTC-USDT-PERP", "ETH-USDT-PERP", "BTC-USD-PERP", "ETH-USD-PERP")
VENUES = ("binance", "bybit", "okx")
Query = Callable[..., list[tuple[object, ...]]]


def instrument(row: dict[str, str]) -> str:
    asset = ASSETS[row["crypto"]]
    if row["contract"] == "spot":
        return f"{asset}-USDT"
    return f"{asset}-USD-PERP" if row["pair"].endswith("CM") else f"{asset}-USDT-PERP"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with gzip.open(HISTORY, "rt", newline="") as file:
        return list(csv.DictReader(file))


def utc(row: dict[str, str]) -> datetime:
    return datetime.fromisoformat(row["time"]).replace(tzinfo=ZoneInfo("Europe/London")).astimezone(UTC)


@pytest.fixture(scope="module")
def resolve(store: Store) -> Iterator[Resolver]:
    from coinswarm.sandbox.server import running

    with running("replay", replay_csv=HISTORY) as url:
        yield store.resolver(url)


def bring_in(resolve: Resolver, run_id: str) -> Counter[str]:
    totals: Counter[str] = Counter()
    for venue in VENUES:
        for dataset, timeframe, symbols in (("ohlcv", "8h", SPOT + PERPETUALS), ("funding_rates", "", PERPETUALS)):
            chunks = plan(venue, dataset, WINDOW, run_id=run_id, resolve=resolve, timeframe=timeframe, symbols=symbols)
            for state in work(chunks, resolve):
                totals.update({name: n for name, n in (state.published or {}).items() if isinstance(n, int)})
    return totals


@pytest.fixture(scope="module")
def backfilled(resolve: Resolver) -> Counter[str]:
    return bring_in(resolve, "first")


def test_backfill_when_history_is_replayed_then_counts_equal_the_file(
    backfilled: Counter[str], rows: list[dict[str, str]], query: Query
) -> None:
    bars = Counter((row["exchange"], instrument(row)) for row in rows)
    funding = Counter((row["exchange"], instrument(row)) for row in rows if row["funding rate"])
    count = "select source, symbol, count(*)::int from raw.{} group by 1, 2"
    assert {(s, i): n for s, i, n in query(count.format("ohlcv"))} == bars
    assert {(s, i): n for s, i, n in query(count.format("funding_rates"))} == funding
    assert backfilled["inserted"] == len(rows) + sum(funding.values())


def test_backfill_when_history_is_replayed_then_every_value_is_exact(
    backfilled: Counter[str], rows: list[dict[str, str]], query: Query
) -> None:
    expected = {
        (row["exchange"], instrument(row), utc(row)): tuple(
            Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")
        )
        for row in rows
    }
    stored = query("select source, symbol, event_at, open, high, low, close, volume_base from raw.ohlcv_current")
    assert {(s, i, at): tuple(values) for s, i, at, *values in stored} == expected
    rates = {(r["exchange"], instrument(r), utc(r)): Decimal(r["funding rate"]) for r in rows if r["funding rate"]}
    stored = query("select source, symbol, event_at, rate, interval_hours from raw.funding_rates_current")
    assert {(s, i, at): rate for s, i, at, rate, _ in stored} == rates
    assert {hours for *_, hours in stored} == {Decimal(8)}


def test_backfill_when_done_again_then_adds_nothing(backfilled: Counter[str], resolve: Resolver, query: Query) -> None:
    before = query("select count(*) from raw.ohlcv")
    again = bring_in(resolve, "second")
    assert again["inserted"] == 0
    assert query("select count(*) from raw.ohlcv") == before


def test_marts_when_built_from_the_history_then_funding_apr_and_flips_equal_an_independent_computation(
    backfilled: Counter[str], store: Store, rows: list[dict[str, str]], query: Query
) -> None:
    from coinswarm.orchestration.marts import build_marts

    build_marts(store.warehouse.transform, select="tag:market")
    start, end = datetime(2023, 6, 1, tzinfo=UTC), datetime(2023, 7, 1, tzinfo=UTC)
    expected = {
        (venue, at): (rate, float(rate) * 8760 / 8, flip)
        for venue in VENUES
        for at, rate, flip in flips_of(rows, venue, "BTC-USDT-PERP")
        if start <= at < end
    }
    stored = query(
        "select source, bucket_at, funding_rate_settled, funding_apr, settled_flips"
        " from marts.positioning_by_venue_current"
        " where symbol = 'BTC-USDT' and bucket_at >= %s and bucket_at < %s and funding_rate_settled is not null",
        start,
        end,
    )
    assert {(s, at): (rate, pytest.approx(float(apr), rel=1e-9), n) for s, at, rate, apr, n in stored} == expected
    assert len(stored) == 3 * 30 * len(VENUES)
    assert sum(flip for *_, flip in expected.values()) > 0, "a month without a flip proves nothing about flips"


def flips_of(rows: list[dict[str, str]], venue: str, symbol: str) -> Iterator[tuple[datetime, Decimal, int]]:
    last = 0
    for row in rows:
        if row["exchange"] != venue or instrument(row) != symbol or not row["funding rate"]:
            continue
        rate = Decimal(row["funding rate"])
        sign = 0 if abs(rate) <= Decimal("0.00001") else (1 if rate > 0 else -1)
        yield utc(row), rate, int(bool(sign and last and sign != last))
        last = sign or last
