"""`DataSource` of every provider against its stand-in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from coinswarm.connections import Connection
from coinswarm.errors import RateLimited
from coinswarm.sandbox.faults import Fault
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import SOURCES
from coinswarm.sources.interface import DataPoint, DataSource

pytestmark = pytest.mark.integration

NOW = datetime(2025, 6, 11, 0, 7, 30, tzinfo=UTC)
MIDNIGHT = NOW.replace(minute=0, second=0)
DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with running(clock=Clock(NOW)) as url:
        yield url


def _source(slug: str, url: str) -> DataSource:
    connection = Connection(f"http_{slug}", host=url, extra={"requests_per_second": 2000})
    return DataSource(SOURCES[slug], connection, clock=lambda: NOW)


def _history(source: DataSource, symbol: str, *, days: int = 1, **about: str) -> list[DataPoint]:
    return asyncio.run(source.fetch_historical(symbol, MIDNIGHT - days * DAY, MIDNIGHT, **about))


@pytest.mark.parametrize("slug", sorted(SOURCES))
def test_health_check_when_the_provider_is_up_then_true(sandbox: str, slug: str) -> None:
    assert asyncio.run(_source(slug, sandbox).health_check()) is True


@pytest.mark.parametrize("kind", ["server_error", "truncated"])
@pytest.mark.parametrize("slug", sorted(SOURCES))
def test_health_check_when_the_provider_fails_then_false(slug: str, kind: str) -> None:
    with running(clock=Clock(NOW), faults=[Fault(kind=kind)]) as url:
        assert asyncio.run(_source(slug, url).health_check()) is False


@pytest.mark.parametrize(
    ("slug", "symbol", "about", "count"),
    [
        ("binance", "BTC-USDT-PERP", {"timeframe": "15m"}, 96),
        ("kraken", "BTC-USD", {"timeframe": "1h"}, 24),
        ("kraken", "BTC-USD-PERP", {"timeframe": "1h"}, 24),
        ("kraken", "BTC-USD-PERP", {"dataset": "funding_rates"}, 24),
        ("okx", "BTC-USDT-PERP", {"dataset": "funding_rates"}, 3),
        ("deribit", "BTC", {"dataset": "volatility_indices"}, 24),
    ],
)
def test_fetch_historical_when_a_day_is_asked_then_its_points_in_order(
    sandbox: str, slug: str, symbol: str, about: dict[str, str], count: int
) -> None:
    points = _history(_source(slug, sandbox), symbol, **about)
    moments = [point.timestamp for point in points]
    assert len(points) == count
    assert moments == sorted(set(moments))
    assert {point.symbol for point in points} == {symbol}
    assert all(MIDNIGHT - DAY <= moment < MIDNIGHT for moment in moments)


def test_fetch_historical_when_rate_limited_then_the_error_tells_how_long_to_wait() -> None:
    with running(clock=Clock(NOW), faults=[Fault(kind="rate_limit")]) as url, pytest.raises(RateLimited) as limited:
        _history(_source("deribit", url), "BTC-USD-PERP", timeframe="1h")
    assert limited.value.retry_after > 0
