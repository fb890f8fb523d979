"""The recorded 18 months through the sources' own requests and parsers: every bar and rate, exactly."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tests.support import RECORDED, needs_recordings

from coinswarm.connections import Connection
from coinswarm.datasets.records import Record
from coinswarm.registry import INSTRUMENTS
from coinswarm.sandbox.market.replayed import local_to_milliseconds
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import SOURCES
from coinswarm.sources.fetch import fetcher
from coinswarm.sources.parsing import parse_payload
from coinswarm.timeframes import Window, milliseconds

pytestmark = [pytest.mark.integration, needs_recordings]

HISTORY = RECORDED / "multi_exchange__ohlcv_funding_8h__1.csv.gz"
WHOLE = Window(datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, 8, tzinfo=UTC))
SYMBOLS = {"/USDT": "{}-USDT", "USDT": "{}-USDT-PERP", "USDCM": "{}-USD-PERP"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with running("replay", replay_csv=HISTORY, clock=Clock(datetime(2024, 7, 2, tzinfo=UTC))) as url:
        yield url


def recorded() -> dict[tuple[str, str], list[dict[str, str]]]:
    series: dict[tuple[str, str], list[dict[str, str]]] = {}
    with gzip.open(HISTORY, "rt") as file:
        for row in csv.DictReader(file):
            symbol = SYMBOLS[row["pair"][3:]].format(row["pair"][:3])
            series.setdefault((row["exchange"], symbol), []).append(row)
    return series


def records(sandbox: str, slug: str, feed_name: str, symbol: str) -> dict[int, Record]:
    """All records of one feed and instrument over the whole history, by event time in milliseconds."""
    source = SOURCES[slug]
    feed = next(feed for feed in source.feeds if feed.name == feed_name)
    fetch = fetcher(source, Connection(source.connection_id, host=sandbox, extra={"requests_per_second": 2000}))
    found = {}
    for request in feed.requests(INSTRUMENTS.get(slug, symbol), WHOLE):
        fetched = fetch.get(request)
        for outcome in parse_payload(feed.parse, fetched.body, request.received(fetched.received_at)):
            assert isinstance(outcome, Record), outcome
            assert outcome.final
            found[milliseconds(outcome.event_at)] = outcome
    return found


@pytest.mark.parametrize("slug", ["binance", "okx", "bybit"])
def test_replay_when_backfilled_by_the_source_then_counts_and_values_are_the_files(sandbox: str, slug: str) -> None:
    bars = rates = 0
    for (exchange, symbol), rows in recorded().items():
        if exchange != slug:
            continue
        by_time = {local_to_milliseconds(row["time"]): row for row in rows}
        found = records(sandbox, slug, "ohlcv_8h", symbol)
        assert set(found) == set(by_time)
        for at, record in found.items():
            row = by_time[at]
            told = [record.values[name] for name in ("open", "high", "low", "close", "volume_base")]
            assert told == [Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")]
        bars += len(found)
        if symbol.endswith("-PERP"):
            funding = records(sandbox, slug, "funding_rates_settled", symbol)
            assert {at: record.values["rate"] for at, record in funding.items()} == {
                at: Decimal(row["funding rate"]) for at, row in by_time.items()
            }
            assert {record.values["interval_hours"] for record in funding.values()} == {8}
            rates += len(funding)
    assert (bars, rates) == (6 * 1642, 4 * 1642)
