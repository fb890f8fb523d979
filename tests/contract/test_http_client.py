"""The HTTP client against a real server: every class of answer, the size cap, the budget, and where secrets may be."""

from __future__ import annotations

import gzip
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from coinswarm.connections import Connection
from coinswarm.datasets import Domain
from coinswarm.errors import (
    AccessDenied,
    Blocked,
    ContractViolation,
    RateLimited,
    SourceError,
    Unavailable,
    UserError,
)
from coinswarm.sources import SOURCES, http
from coinswarm.sources.fetch import fetcher
from coinswarm.sources.spec import ApiKey, Request, SourceSpec

pytestmark = pytest.mark.contract

SECRET = "k3y+with/odd=signs&more"
HOST = "api.provider.example"
Answer = Callable[[BaseHTTPRequestHandler], None]


class Provider:
    """A real HTTP server whose next answer a test chooses; it keeps what it was asked."""

    def __init__(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                provider.asked.append((self.path, dict(self.headers)))
                provider.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.asked: list[tuple[str, dict[str, str]]] = []
        self.answer: Answer = replying(200, b"[]")
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


def replying(status: int, body: bytes, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)
        if "Content_Length" in headers:
            handler.close_connection = True

    return answer


def cut_chunks(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"5\r\n[1,2,\r\n")
    handler.wfile.flush()
    handler.close_connection = True


def reset(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    handler.connection.close()
    handler.close_connection = True


@pytest.fixture
def provider() -> Iterator[Provider]:
    running = Provider()
    yield running
    running.server.shutdown()
    running.server.server_close()


SPEC = SourceSpec(
    slug="provider",
    title="A provider",
    domain=Domain.MACRO,
    docs_url="https://provider.example",
    licence="none",
    feeds=(),
    requests_per_second=1000,
    hosts=(HOST, "other.provider.example"),
    api_key=ApiKey(hosts=(HOST,), param="api_key"),
)
REQUEST = Request("provider", "market_caps", f"https://{HOST}/v1/caps", params={"page": 2, "ids": "a,b"})


def _connection(provider: Provider, **fields: Any) -> Connection:
    return Connection("http_provider", **{"host": provider.url, "password": SECRET, **fields})


def _failure(provider: Provider, spec: SourceSpec = SPEC, request: Request = REQUEST) -> SourceError:
    with pytest.raises(SourceError) as caught:
        fetcher(spec, _connection(provider)).get(request)
    error = caught.value
    assert (error.source, error.dataset) == ("provider", "market_caps")
    for form in (SECRET, "k3y%2Bwith"):
        assert form not in str(error), "secrets stay out of errors"
        assert form not in repr(error.__cause__)
    return error


def test_get_when_answered_then_body_is_verbatim_and_the_address_is_the_providers(provider: Provider) -> None:
    provider.answer = replying(200, b"[1.10,  2.0e0]\n")
    before = datetime.now(UTC)
    fetched = fetcher(SPEC, _connection(provider)).get(REQUEST)
    assert fetched.body == b"[1.10,  2.0e0]\n"
    assert fetched.status == 200
    assert before <= fetched.received_at <= datetime.now(UTC)
    assert fetched.url == f"https://{HOST}/v1/caps?page=2&ids=a%2Cb"
    assert provider.asked[0][0].startswith(f"/{HOST}/v1/caps?page=2&ids=a%2Cb&api_key=")


def test_get_when_body_is_compressed_then_it_is_unpacked(provider: Provider) -> None:
    packed = gzip.compress(b"[1]")
    provider.answer = replying(200, packed, Content_Encoding="gzip")
    assert fetcher(SPEC, _connection(provider)).get(REQUEST).body == b"[1]"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (500, Unavailable),
        (502, Unavailable),
        (503, Unavailable),
        (504, Unavailable),
        (408, Unavailable),
        (429, RateLimited),
        (418, RateLimited),
        (401, AccessDenied),
        (403, AccessDenied),
        (451, Blocked),
        (400, ContractViolation),
        (404, ContractViolation),
        (302, ContractViolation),
    ],
)
def test_get_when_status_is_not_success_then_the_error_has_the_retry_class(
    provider: Provider, status: int, kind: type[SourceError]
) -> None:
    provider.answer = replying(status, b"no: " + SECRET.encode(), Location="https://elsewhere.example/")
    error = _failure(provider)
    assert type(error) is kind
    assert str(status) in str(error)
    assert len(provider.asked) == 1, "the client itself never retries or follows"
    if kind is AccessDenied:
        assert "http_provider" in str(error)


def test_get_when_a_403_speaks_of_the_country_then_the_source_is_blocked(provider: Provider) -> None:
    provider.answer = replying(403, b"The distribution is configured to block access from your country.")
    assert type(_failure(provider)) is Blocked


def test_get_when_the_spec_calls_403_a_ban_then_it_is_a_rate_limit_with_its_wait(provider: Provider) -> None:
    provider.answer = replying(403, b"access too frequent")
    error = _failure(provider, replace(SPEC, rate_limit_statuses=SOURCES["bybit"].rate_limit_statuses))
    assert isinstance(error, RateLimited)
    assert error.retry_after == 600


@pytest.mark.parametrize(
    ("header", "low", "high"),
    [
        ("7", 7, 7),
        ("0", 1, 1),
        ("-5", 1, 1),
        ("99999999", 3600, 3600),
        ("soon", 30, 30),
        ("nan", 30, 30),
        ("", 30, 30),
        pytest.param(format_datetime(datetime.now(UTC) + timedelta(seconds=900)), 300, 900, id="a date"),
    ],
)
def test_get_when_limited_then_retry_after_is_kept_within_reason(
    provider: Provider, header: str, low: float, high: float
) -> None:
    provider.answer = replying(429, b"slow down", Retry_After=header)
    error = _failure(provider)
    assert isinstance(error, RateLimited)
    assert low <= error.retry_after <= high


def test_get_when_the_host_asked_to_wait_then_nothing_more_is_sent(provider: Provider) -> None:
    provider.answer = replying(429, b"slow down", Retry_After="60")
    _failure(provider)
    provider.answer = replying(200, b"[]")
    error = _failure(provider)
    assert isinstance(error, RateLimited)
    assert 0 < error.retry_after <= 60
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    "answer", [replying(200, b"[1,2", Content_Length="500"), cut_chunks, reset], ids=["length", "chunks", "reset"]
)
def test_get_when_the_body_is_cut_then_it_is_unavailable(provider: Provider, answer: Answer) -> None:
    provider.answer = answer
    assert type(_failure(provider)) is Unavailable


def test_get_when_nobody_answers_in_time_then_it_is_unavailable(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "TIMEOUT_SECONDS", (1.0, 0.3))
    done = threading.Event()
    provider.answer = lambda _handler: done.wait(20) and None  # type: ignore[func-returns-value]
    assert type(_failure(provider)) is Unavailable
    done.set()


def test_get_when_nothing_listens_then_it_is_unavailable_and_the_key_is_not_shown(provider: Provider) -> None:
    provider.server.shutdown()
    provider.server.server_close()
    assert type(_failure(provider)) is Unavailable


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "bomb"])
def test_get_when_the_body_is_too_large_then_it_is_refused(
    provider: Provider, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "MAX_BODY_BYTES", 200_000)
    body = b" " * 2_000_000
    provider.answer = replying(200, gzip.compress(body), Content_Encoding="gzip") if packed else replying(200, body)
    error = _failure(provider)
    assert type(error) is ContractViolation
    assert "larger" in str(error)


@pytest.mark.parametrize(
    "endpoint",
    ["https://evil.example/x", f"http://{HOST}/x", "file:///etc/passwd", f"https://{HOST}@evil.example/", "nonsense"],
)
def test_get_when_the_host_is_not_the_sources_then_nothing_is_sent(provider: Provider, endpoint: str) -> None:
    with pytest.raises(UserError, match="hosts are"):
        fetcher(SPEC, _connection(provider)).get(replace(REQUEST, endpoint=endpoint))
    assert not provider.asked


def test_get_when_the_key_is_a_header_then_only_its_host_sees_it(provider: Provider) -> None:
    spec = replace(SPEC, api_key=ApiKey(hosts=(HOST,), header="x-cg-demo-api-key"))
    fetch = fetcher(spec, _connection(provider))
    fetch.get(REQUEST)
    fetch.get(replace(REQUEST, endpoint="https://other.provider.example/v1"))
    (path, with_key), (_, without_key) = provider.asked
    assert with_key["x-cg-demo-api-key"] == SECRET
    assert "x-cg-demo-api-key" not in without_key
    assert SECRET not in path


def test_get_when_everything_is_logged_then_the_key_is_not(
    provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        fetcher(SPEC, _connection(provider)).get(REQUEST)
    assert "/v1/caps" in caplog.text
    assert SECRET not in caplog.text
    assert "k3y%2Bwith" not in caplog.text


def test_get_when_the_host_has_its_own_address_then_it_is_used(provider: Provider) -> None:
    connection = _connection(provider, host="http://127.0.0.1:9", extra={"hosts": {HOST: f"{provider.url}/mirror/"}})
    fetcher(SPEC, connection).get(REQUEST)
    assert provider.asked[0][0].startswith("/mirror/v1/caps?")


def test_get_when_fetchers_ask_one_host_then_they_share_its_budget(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(http, "time", SimpleNamespace(monotonic=lambda: 100.0, sleep=waits.append))
    connection = _connection(provider, extra={"requests_per_second": 4})
    for _ in range(3):
        fetcher(SPEC, connection).get(REQUEST)
    fetcher(SPEC, connection).get(replace(REQUEST, endpoint="https://other.provider.example/v1"))
    assert waits == [0.25, 0.5], "the second and third wait for their slots, another host has its own"


# ---- through ccxt

BARS = Request(
    "okx", "ohlcv", "publicGetMarketHistoryCandles", client="okx", params={"instId": "BTC-USDT", "bar": "1H"}
)


def _ccxt(provider: Provider, source: str) -> Any:
    return fetcher(SOURCES[source], Connection(f"http_{source}", host=provider.url, extra={"requests_per_second": 500}))


def test_get_when_ccxt_carries_it_then_the_body_is_verbatim(provider: Provider) -> None:
    body = b'{"code": "0",  "data": [["1770530400000","69223.30"]], "msg": ""}'
    provider.answer = replying(200, body)
    fetched = _ccxt(provider, "okx").get(BARS)
    assert fetched.body == body
    assert fetched.url == "https://www.okx.com/api/v5/market/history-candles?instId=BTC-USDT&bar=1H"
    assert provider.asked[0][0] == "/www.okx.com/api/v5/market/history-candles?instId=BTC-USDT&bar=1H"


KLINES = {
    "binance": "publicGetKlines",
    "bybit": "publicGetV5MarketKline",
    "deribit": "publicGetGetTradingviewChartData",
    "kraken": "publicGetOHLC",
    "okx": "publicGetMarketHistoryCandles",
}


@pytest.mark.parametrize(
    ("source", "status", "body", "kind"),
    [
        ("okx", 200, b'{"code":"50011","msg":"Too Many Requests"}', RateLimited),
        ("okx", 200, b'{"code":"50001","msg":"Service unavailable"}', Unavailable),
        ("bybit", 200, b'{"retCode":10006,"retMsg":"Too many visits!"}', RateLimited),
        ("bybit", 200, b'{"retCode":10016,"retMsg":"Server error."}', Unavailable),
        ("bybit", 403, b"access too frequent", RateLimited),
        ("binance", 400, b'{"code":-1121,"msg":"Invalid symbol."}', ContractViolation),
        ("binance", 400, b'{"code":-1003,"msg":"Too many requests"}', RateLimited),
        ("binance", 429, b'{"code":-1003,"msg":"Too many requests"}', RateLimited),
        ("binance", 418, b'{"code":-1003,"msg":"banned"}', RateLimited),
        ("binance", 451, b"restricted location", Blocked),
        ("deribit", 400, b'{"jsonrpc":"2.0","error":{"code":10028,"message":"too_many_requests"}}', RateLimited),
        ("deribit", 400, b'{"jsonrpc":"2.0","error":{"code":13888,"message":"timed_out"}}', Unavailable),
        ("kraken", 200, b'{"error":["EGeneral:Too many requests"]}', RateLimited),
        ("kraken", 200, b'{"error":["EService:Unavailable"]}', Unavailable),
    ],
)
def test_get_when_a_venue_answers_an_error_envelope_then_it_has_the_retry_class(
    provider: Provider, source: str, status: int, body: bytes, kind: type[SourceError]
) -> None:
    provider.answer = replying(status, body)
    with pytest.raises(kind) as caught:
        _ccxt(provider, source).get(Request(source, "ohlcv", KLINES[source], client=source, params={"symbol": "X"}))
    assert type(caught.value) is kind
    assert len(provider.asked) == 1


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("okx", b'{"code":"51001","msg":"Instrument ID does not exist","data":[]}'),
        ("bybit", b'{"retCode":10001,"retMsg":"symbol invalid","result":{}}'),
    ],
)
def test_get_when_a_venue_refuses_the_question_then_its_words_land_and_the_parser_names_them(
    provider: Provider, source: str, body: bytes
) -> None:
    provider.answer = replying(200, body)
    request = Request(source, "ohlcv", KLINES[source], client=source, symbol="BTC-USDT", market="spot", timeframe="1h")
    assert _ccxt(provider, source).get(request).body == body
    parse = next(feed.parse for feed in SOURCES[source].feeds if feed.dataset == "ohlcv")
    with pytest.raises(ContractViolation, match="refused"):
        list(parse(body, request))


@pytest.mark.parametrize(("client", "endpoint"), [("nowhere", "publicGetX"), ("okx", "nope"), ("okx", "fetch_ohlcv")])
def test_get_when_ccxt_has_no_such_method_then_it_is_the_callers_error(
    provider: Provider, client: str, endpoint: str
) -> None:
    with pytest.raises(UserError, match="ccxt"):
        _ccxt(provider, "okx").get(replace(BARS, client=client, endpoint=endpoint))
