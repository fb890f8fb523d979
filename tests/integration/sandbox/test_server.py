"""The sandbox through a socket, with ccxt as its client: the same numbers, the same errors, and all faults."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import ccxt
import pytest
import requests

from coinswarm.sandbox.application import Sandbox
from coinswarm.sandbox.market.listings import LISTINGS
from coinswarm.sandbox.market.model import HOUR
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import build, is_listening, running

pytestmark = pytest.mark.integration

NOW = datetime(2026, 3, 4, 12, 34, 56, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    with running(clock=Clock(NOW)) as url:
        yield url


@pytest.fixture(autouse=True)
def _no_faults(base: str) -> Iterator[None]:
    yield
    requests.delete(f"{base}/_control/faults", timeout=5)
    requests.delete(f"{base}/_control/revise", timeout=5)


@pytest.fixture(scope="module")
def model() -> Sandbox:
    """The same market in this process: what the wire has to say."""
    return build("simulate", clock=Clock(NOW))


def pointed(value: Any, base: str) -> Any:
    if isinstance(value, dict):
        return {name: pointed(child, base) for name, child in value.items()}
    if isinstance(value, str) and value.startswith("https://"):
        return f"{base}/{value.removeprefix('https://')}"
    return value


def client(name: str, base: str) -> Any:
    exchange = getattr(ccxt, name)({"enableRateLimit": False, "timeout": 20_000})
    exchange.urls["api"] = pointed(exchange.urls["api"], base)
    types = {"binance": ["spot"], "binanceusdm": ["linear"], "binancecoinm": ["inverse"]}
    if name in types:
        exchange.options["fetchMarkets"] = {"types": types[name]}
    exchange.load_markets()
    return exchange


CCXT = [
    ("binance", "BTC/USDT", "binance", "spot", "BTCUSDT", "base"),
    ("binance", "ETH/BTC", "binance", "spot", "ETHBTC", "base"),
    ("binanceusdm", "ETH/USDT:USDT", "binance", "usdm", "ETHUSDT", "base"),
    ("binancecoinm", "BTC/USD:BTC", "binance", "coinm", "BTCUSD_PERP", "base"),
    ("coinbase", "BTC/USD", "coinbase", "spot", "BTC-USD", "base"),
    ("kraken", "BTC/USD", "kraken", "spot", "XXBTZUSD", "base"),
    ("krakenfutures", "ETH/USD:USD", "kraken", "futures", "PF_ETHUSD", "base"),
    ("okx", "BTC/USDT", "okx", "spot", "BTC-USDT", "base"),
    ("okx", "ETH/USDT:USDT", "okx", "swap", "ETH-USDT-SWAP", "base"),
    ("okx", "BTC/USD:BTC", "okx", "swap", "BTC-USD-SWAP", "base"),
    ("bybit", "ETH/USDT", "bybit", "spot", "ETHUSDT", "base"),
    ("bybit", "BTC/USDT:USDT", "bybit", "linear", "BTCUSDT", "base"),
    ("bybit", "BTC/USD:BTC", "bybit", "inverse", "BTCUSD", "base"),
    ("deribit", "BTC/USD:BTC", "deribit", "perpetual", "BTC-PERPETUAL", "base"),
]


@pytest.mark.parametrize(("name", "symbol", "venue", "market", "listed", "volume"), CCXT)
def test_ccxt_when_it_fetches_bars_then_they_are_the_markets(
    base: str, model: Sandbox, name: str, symbol: str, venue: str, market: str, listed: str, volume: str
) -> None:
    since = NOW_MS // HOUR * HOUR - 20 * HOUR
    listing = next(x for x in LISTINGS if (x.venue, x.market, x.symbol) == (venue, market, listed))
    expected = model.world.market.bars(listing, HOUR, since, since + 10 * HOUR)
    rows = client(name, base).fetch_ohlcv(symbol, "1h", since=since, limit=10)
    assert rows == [
        [bar.open_ms, *(float(value) for value in bar[1:5]), float(getattr(bar, volume))] for bar in expected
    ]


@pytest.mark.parametrize(
    ("name", "symbol", "venue", "market", "listed"),
    [
        ("binanceusdm", "BTC/USDT:USDT", "binance", "usdm", "BTCUSDT"),
        ("okx", "BTC/USDT:USDT", "okx", "swap", "BTC-USDT-SWAP"),
        ("bybit", "BTC/USDT:USDT", "bybit", "linear", "BTCUSDT"),
        ("krakenfutures", "BTC/USD:USD", "kraken", "futures", "PF_XBTUSD"),
    ],
)
def test_ccxt_when_it_fetches_funding_then_it_is_the_markets(
    base: str, model: Sandbox, name: str, symbol: str, venue: str, market: str, listed: str
) -> None:
    listing = next(x for x in LISTINGS if (x.venue, x.market, x.symbol) == (venue, market, listed))
    expected = model.world.market.funding(listing, NOW_MS - 24 * HOUR * 20, NOW_MS)[-5:]
    rows = client(name, base).fetch_funding_rate_history(symbol, limit=100)[-5:]
    assert [row["fundingRate"] for row in rows] == [float(event.rate) for event in expected]
    assert all(0 <= row["timestamp"] - event.at_ms <= 10 for row, event in zip(rows, expected, strict=True))


@pytest.mark.parametrize("name", ["binance", "binanceusdm", "coinbase", "kraken", "krakenfutures", "okx", "bybit"])
def test_ccxt_when_the_symbol_is_unknown_then_the_refusal_is_understood(base: str, name: str) -> None:
    exchange = client(name, base)
    symbol = next(iter(exchange.markets))
    exchange.markets[symbol]["id"] = "NOPE"
    with pytest.raises(ccxt.BaseError) as refused:
        exchange.fetch_ohlcv(symbol, "1h", limit=1)
    assert not isinstance(refused.value, ccxt.NetworkError) or name in ("krakenfutures", "coinbase")


def fault(base: str, **fields: object) -> None:
    assert requests.post(f"{base}/_control/faults", json=fields, timeout=5).status_code == 200


KLINES = "api.binance.com/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=5"


def test_fault_when_rate_limited_then_ccxt_sees_it_once(base: str) -> None:
    exchange = client("binance", base)
    fault(base, kind="rate_limit", path="*/klines", count=1, retry_after=3)
    with pytest.raises(ccxt.DDoSProtection):
        exchange.fetch_ohlcv("BTC/USDT", "1h", limit=1)
    assert len(exchange.fetch_ohlcv("BTC/USDT", "1h", limit=1)) == 1
    fault(base, kind="rate_limit", count=1, retry_after=3)
    assert requests.get(f"{base}/{KLINES}", timeout=5).headers["Retry-After"] == "3"


@pytest.mark.parametrize("kind", ["truncated", "hang"])
def test_fault_when_the_connection_fails_then_the_client_fails_and_the_next_call_works(base: str, kind: str) -> None:
    fault(base, kind=kind, count=1, seconds=2)
    with pytest.raises((requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)):
        requests.get(f"{base}/{KLINES}", timeout=0.5)
    assert len(requests.get(f"{base}/{KLINES}", timeout=5).json()) == 5


def test_fault_when_bodies_are_spoiled_then_they_differ_as_announced(base: str) -> None:
    good = requests.get(f"{base}/{KLINES}", timeout=5).json()
    spoiled = ["not-a-number" if isinstance(value, int) else {"unexpected": value} for value in good[0]]
    for kind, expected in (("empty", []), ("wrong_types", [spoiled, *good[1:]])):
        fault(base, kind=kind, count=1)
        assert requests.get(f"{base}/{KLINES}", timeout=5).json() == expected
    fault(base, kind="status", status=451, body="blocked", count=1)
    blocked = requests.get(f"{base}/{KLINES}", timeout=5)
    assert (blocked.status_code, blocked.text) == (451, "blocked")


def test_state_when_asked_over_the_socket_then_it_counted_this_test(base: str) -> None:
    requests.delete(f"{base}/_control/state", timeout=5)
    for _ in range(3):
        requests.get(f"{base}/{KLINES}", timeout=5)
    state = requests.get(f"{base}/_control/state", timeout=5).json()
    assert state["requests"] == {"api.binance.com/api/v3/klines": 3}


def test_server_when_many_clients_ask_at_once_then_all_get_the_same_answer(base: str) -> None:
    expected = requests.get(f"{base}/{KLINES}", timeout=5).content

    def ask(_: int) -> set[bytes]:
        with requests.Session() as session:
            return {session.get(f"{base}/{KLINES}", timeout=30).content for _ in range(25)}

    with ThreadPoolExecutor(16) as pool:
        assert set().union(*pool.map(ask, range(16))) == {expected}


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 30_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /_control/faults HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
        b"POST /_control/faults HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{x}",
        b"GET /api.binance.com/api/v3/klines?symbol=%00%ff'&interval=1h HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_server_when_the_request_is_hostile_then_a_client_error_and_it_lives_on(base: str, raw: bytes) -> None:
    host, _, port = base.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(raw)
        answer = connection.recv(200)
    assert answer.startswith(b"HTTP/1.1 4")
    assert requests.get(f"{base}/{KLINES}", timeout=5).status_code == 200


def test_command_when_started_then_it_serves_until_it_is_told_to_stop() -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    rules = json.dumps([{"kind": "server_error", "path": "*/ping", "count": 1}])
    command = [sys.executable, "-m", "coinswarm.sandbox", "simulate", "--port", str(port), "--now", NOW.isoformat()]
    process = subprocess.Popen(command, env={**os.environ, "COINSWARM_SANDBOX_FAULTS": rules}, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 60
        while not is_listening("127.0.0.1", port):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        url = f"http://127.0.0.1:{port}/api.binance.com/api/v3"
        assert requests.get(f"{url}/ping", timeout=5).status_code == 503
        assert requests.get(f"{url}/time", timeout=5).json() == {"serverTime": NOW_MS}
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "arguments", [["replay"], ["replay", "--replay-csv", "/nowhere.csv"], ["simulate", "--faults", '{"kind":"x"}']]
)
def test_command_when_arguments_are_wrong_then_it_says_so_without_a_traceback(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "coinswarm.sandbox", *arguments, "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
