"""What `DataSource` refuses before it asks anybody."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from coinswarm.connections import Connection
from coinswarm.errors import UserError
from coinswarm.sources import source_named
from coinswarm.sources.interface import DataSource, data_source

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 10, 12, 0, 30, tzinfo=UTC)
DAY = timedelta(days=1)


def _source(slug: str) -> DataSource:
    return DataSource(source_named(slug), Connection(f"http_{slug}"), clock=lambda: NOW)


def _ask(slug: str, symbol: str, *, start: datetime = NOW - DAY, end: datetime = NOW, **about: str) -> object:
    return asyncio.run(_source(slug).fetch_historical(symbol, start, end, **about))


@pytest.mark.parametrize(
    ("slug", "symbol", "about", "says"),
    [
        ("coinbase", "BTC-USDT", {"timeframe": "1h"}, "it lists BTC-USD, ETH-USD"),
        ("coinbase", "BTC-USD", {"timeframe": "8h"}, "15m, 1d, 1h, 1m, not '8h'"),
        ("coinbase", "BTC-USD", {}, "say which timeframe"),
        ("coinbase", "BTC-USD", {"dataset": "funding_rates"}, "coinbase has no funding_rates; it has ohlcv"),
        ("coinbase", "BTC-USD", {"dataset": "candles"}, "unknown dataset 'candles'"),
        ("kraken", "BTC-USD", {"dataset": "funding_rates"}, "no funding_rates of BTC-USD"),
        ("kraken", "BTC-USD-PERP", {"dataset": "open_interest"}, "tells only the present open_interest"),
    ],
)
def test_fetch_historical_when_the_source_lacks_it_then_error_says_what_there_is(
    slug: str, symbol: str, about: dict[str, str], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        _ask(slug, symbol, **about)


def test_fetch_historical_when_kraken_has_forgotten_it_then_error_says_how_far_it_reaches() -> None:
    with pytest.raises(UserError, match="ohlcv_1m_spot reaches back to 2026-03-10 00:01 UTC only"):
        _ask("kraken", "BTC-USD", timeframe="1m")


def test_fetch_historical_when_the_window_lies_ahead_then_error() -> None:
    with pytest.raises(UserError, match="has not come yet"):
        _ask("coinbase", "BTC-USD", timeframe="1h", start=NOW + DAY, end=NOW + 2 * DAY)


def test_fetch_historical_when_times_are_naive_then_error() -> None:
    with pytest.raises(UserError, match="UTC"):
        _ask("coinbase", "BTC-USD", timeframe="1h", start=datetime(2026, 3, 1))


def test_data_source_when_a_key_is_required_and_missing_then_it_is_off() -> None:
    spec = replace(source_named("coinbase"), key_required=True)
    source = DataSource(spec, Connection("http_coinbase"), clock=lambda: NOW)
    assert asyncio.run(source.health_check()) is False
    with pytest.raises(UserError, match="is off: connection http_coinbase has no key"):
        asyncio.run(source.fetch_historical("BTC-USD", NOW - DAY, NOW, timeframe="1h"))


def test_stream_realtime_when_asked_then_it_names_the_tick_feed() -> None:
    with pytest.raises(
        UserError, match=r"coinbase: trades of BTC-USD come live from the tick feed \(coinswarm.ticks\)"
    ):
        _source("coinbase").stream_realtime(["BTC-USD"])


def test_data_source_when_unknown_then_error_lists_the_sources() -> None:
    with pytest.raises(UserError, match=r"unknown source 'mtgox'; known: .*kraken"):
        data_source("mtgox", Connection("http_mtgox"))
