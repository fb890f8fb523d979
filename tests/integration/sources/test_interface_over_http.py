"""`DataSource` against a provider that really answers over HTTP."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from coinswarm.connections import Connection
from coinswarm.errors import ContractViolation, RateLimited
from coinswarm.sources import source_named
from coinswarm.sources.interface import DataPoint, DataSource

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)
START = datetime(2026, 3, 1, tzinfo=UTC)
Answer = Callable[[dict[str, str]], tuple[int, bytes]]


class _Provider(ThreadingHTTPServer):
    answer: Answer
    asked: list[str]


class _Handler(BaseHTTPRequestHandler):
    server: _Provider

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        status, body = self.server.answer(query)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        pass


@pytest.fixture
def provider() -> Iterator[_Provider]:
    server = _Provider(("127.0.0.1", 0), _Handler)
    server.asked = []
    server.answer = _hourly_candles
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _hourly_candles(query: dict[str, str]) -> tuple[int, bytes]:
    first, last = int(query["start"]), int(query["end"])
    opens = range(-(-first // 3600) * 3600, last + 1, 3600)
    candles = [
        {"start": str(t), "low": "1", "high": "3", "open": "2", "close": f"2.{t // 3600 % 10}0", "volume": "1"}
        for t in opens
    ]
    return 200, json.dumps({"candles": candles[::-1]}).encode()


def _source(provider: _Provider) -> DataSource:
    connection = Connection(
        "http_coinbase",
        host=f"http://127.0.0.1:{provider.server_port}",
        # A test need not wait for the venue's budget.
        extra={"requests_per_second": 1000},
    )
    return DataSource(source_named("coinbase"), connection)


def _bars(source: DataSource, hours: int) -> list[DataPoint]:
    return asyncio.run(source.fetch_historical("BTC-USD", START, START + hours * HOUR, timeframe="1h"))


def test_fetch_historical_when_several_pages_then_every_bar_once_and_oldest_first(provider: _Provider) -> None:
    points = _bars(_source(provider), 700)
    assert [point.timestamp for point in points] == [START + n * HOUR for n in range(700)]
    assert len(provider.asked) == 3
    assert all(
        path.startswith("/api.coinbase.com/api/v3/brokerage/market/products/BTC-USD/") for path in provider.asked
    )
    first = points[0]
    assert (first.source, first.symbol, first.timeframe, first.version) == ("coinbase", "BTC-USD", "1h", "ohlcv/1")
    assert first.data["close"] == Decimal(f"2.{int(START.timestamp()) // 3600 % 10}0")
    assert first.quality_score is None


def test_fetch_historical_when_the_last_bar_is_open_then_it_is_left_out(provider: _Provider) -> None:
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 2 * HOUR
    points = asyncio.run(_source(provider).fetch_historical("BTC-USD", start, start + 5 * HOUR, timeframe="1h"))
    assert start + 3 * HOUR > points[-1].timestamp >= start + HOUR
    assert all(point.timestamp + HOUR <= datetime.now(UTC) for point in points)


def test_fetch_historical_when_a_row_is_unusable_then_the_others_come_and_the_log_names_it(
    provider: _Provider, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(query: dict[str, str]) -> tuple[int, bytes]:
        body = json.loads(_hourly_candles(query)[1])
        body["candles"][0]["high"] = "NaN"
        return 200, json.dumps(body).encode()

    provider.answer = answer
    assert len(_bars(_source(provider), 10)) == 9
    assert "coinbase: left out 1 unusable rows, the first for high: 'NaN' is not" in caplog.text


def test_fetch_historical_when_the_body_is_no_json_then_contract_violation(provider: _Provider) -> None:
    provider.answer = lambda query: (200, b"<html>maintenance</html>")
    with pytest.raises(ContractViolation, match="coinbase/ohlcv: not JSON"):
        _bars(_source(provider), 1)


def test_fetch_historical_when_rate_limited_then_the_error_is_the_retry_class(provider: _Provider) -> None:
    provider.answer = lambda query: (429, b'{"error":"rate_limit_exceeded"}')
    with pytest.raises(RateLimited, match="429"):
        _bars(_source(provider), 1)


@pytest.mark.parametrize(
    ("status", "body", "healthy"),
    [
        (200, b'{"candles": []}', True),
        (200, b'{"error": "unknown"}', False),
        (200, b'{"candles": [{"start": "x"}]}', False),
        (503, b"down", False),
        (404, b"{}", False),
    ],
)
def test_health_check_when_the_provider_answers_so_then_health(
    provider: _Provider, status: int, body: bytes, healthy: bool
) -> None:
    provider.answer = lambda query: (status, body)
    assert asyncio.run(_source(provider).health_check()) is healthy


def test_health_check_when_asked_then_one_request_is_enough(provider: _Provider) -> None:
    assert asyncio.run(_source(provider).health_check()) is True
    assert len(provider.asked) == 1
