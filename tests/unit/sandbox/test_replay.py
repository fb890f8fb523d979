"""Replay: London time, exact text, the venues' own names, and recorded bodies as they are."""

from __future__ import annotations

import csv
import gzip
import json
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.support import RECORDED, needs_recordings

from coinswarm.sandbox.application import Sandbox
from coinswarm.sandbox.market.replayed import local_to_milliseconds, read_history
from coinswarm.sandbox.protocol import Call, Clock
from coinswarm.sandbox.server import build

pytestmark = pytest.mark.unit

HISTORY = RECORDED / "multi_exchange__ohlcv_funding_8h__1.csv.gz"
HEAD = "time,exchange,crypto,pair,contract,open,high,low,close,volume,funding rate\n"
EIGHT_HOURS = 8 * 3_600_000
AFTERWARDS = Clock(datetime(2024, 8, 1, tzinfo=UTC))


def utc(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("local", "expected"),
    [
        ("2023-01-01 00:00:00", "2023-01-01 00:00"),
        ("2023-03-26 00:00:00", "2023-03-26 00:00"),
        ("2023-03-26 09:00:00", "2023-03-26 08:00"),
        ("2023-10-28 17:00:00", "2023-10-28 16:00"),
        # 01:00 happens twice on this night; the history means the first one, still summer time.
        ("2023-10-29 01:00:00", "2023-10-29 00:00"),
        ("2023-10-29 08:00:00", "2023-10-29 08:00"),
        ("2024-07-01 01:00:00", "2024-07-01 00:00"),
    ],
)
def test_time_when_london_has_summer_time_then_it_is_an_hour_ahead(local: str, expected: str) -> None:
    assert utc(local_to_milliseconds(local)) == expected


def history_file(folder: Path, *rows: str) -> Path:
    path = folder / "history.csv"
    path.write_text(HEAD + "\n".join(rows) + "\n")
    return path


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["2023-01-01 00:00:00,binance,bitcoin,DOGE/USDT,spot,1,1,1,1,1,"], "line 2"),
        (["2023-01-01 00:00:00,binance,bitcoin,BTC/USDT,spot,1,1,1,1,much,"], "line 2"),
        (["yesterday,binance,bitcoin,BTC/USDT,spot,1,1,1,1,1,"], "line 2"),
        (
            [
                "2023-01-01 00:00:00,binance,bitcoin,BTC/USDT,spot,1,1,1,1,1,",
                "2023-01-01 16:00:00,binance,bitcoin,BTC/USDT,spot,1,1,1,1,1,",
            ],
            "eight hours",
        ),
    ],
)
def test_history_when_a_row_is_wrong_then_the_error_names_it(tmp_path: Path, rows: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_history(history_file(tmp_path, *rows))


def test_replay_when_nothing_is_given_then_it_refuses_to_start() -> None:
    with pytest.raises(ValueError, match="history"):
        build("replay")


@pytest.fixture(scope="module")
def replay() -> Sandbox:
    return build("replay", replay_csv=HISTORY, clock=AFTERWARDS)


def ask(sandbox: Sandbox, host: str, path: str, *, status: int = 200, **query: object) -> Any:
    reply, _ = sandbox.answer(Call(host, path, {name: str(value) for name, value in query.items()}))
    assert reply.status == status, reply.body[:300]
    return json.loads(reply.body)


def binance_bars(sandbox: Sandbox, pair: str) -> list[list[Any]]:
    host, path, symbol = {
        "BTC/USDT": ("api.binance.com", "/api/v3/klines", "BTCUSDT"),
        "ETH/USDT": ("api.binance.com", "/api/v3/klines", "ETHUSDT"),
        "BTCUSDT": ("fapi.binance.com", "/fapi/v1/klines", "BTCUSDT"),
        "ETHUSDT": ("fapi.binance.com", "/fapi/v1/klines", "ETHUSDT"),
        "BTCUSDCM": ("dapi.binance.com", "/dapi/v1/klines", "BTCUSD_PERP"),
        "ETHUSDCM": ("dapi.binance.com", "/dapi/v1/klines", "ETHUSD_PERP"),
    }[pair]
    rows: list[list[Any]] = []
    start = 0
    while page := ask(sandbox, host, path, symbol=symbol, interval="8h", startTime=start, limit=500):
        rows += page
        start = page[-1][0] + 1
    volume = 7 if pair.endswith("CM") else 5
    return [[row[0], *row[1:5], row[volume]] for row in rows]


def okx_bars(sandbox: Sandbox, pair: str) -> list[list[Any]]:
    name = {"BTC/USDT": "BTC-USDT", "BTCUSDT": "BTC-USDT-SWAP", "BTCUSDCM": "BTC-USD-SWAP"}[pair.replace("ETH", "BTC")]
    name = name.replace("BTC", "ETH") if pair.startswith("ETH") else name
    rows: list[list[Any]] = []
    query: dict[str, object] = {"instId": name, "bar": "8H", "limit": 100}
    while page := ask(sandbox, "www.okx.com", "/api/v5/market/history-candles", **query)["data"]:
        rows += page
        query["after"] = page[-1][0]
    volume = 5 if "/" in pair else 6
    return [[int(row[0]), *row[1:5], row[volume]] for row in reversed(rows)]


def bybit_bars(sandbox: Sandbox, pair: str) -> list[list[Any]]:
    category = "spot" if "/" in pair else "inverse" if pair.endswith("CM") else "linear"
    symbol = pair.replace("/", "").replace("USDCM", "USD")
    rows: list[list[Any]] = []
    query: dict[str, object] = {"category": category, "symbol": symbol, "interval": 480, "limit": 1000}
    while page := ask(sandbox, "api.bybit.com", "/v5/market/kline", **query)["result"]["list"]:
        rows += page
        query["end"] = int(page[-1][0]) - 1
    volume = 6 if category == "inverse" else 5
    return [[int(row[0]), *row[1:5], row[volume]] for row in reversed(rows)]


def recorded_rows() -> dict[tuple[str, str], list[dict[str, str]]]:
    series: dict[tuple[str, str], list[dict[str, str]]] = {}
    with gzip.open(HISTORY, "rt") as file:
        for row in csv.DictReader(file):
            series.setdefault((row["exchange"], row["pair"]), []).append(row)
    return series


@needs_recordings
def test_replay_when_every_page_is_read_then_all_rows_come_back_exactly(replay: Sandbox) -> None:
    readers = {"binance": binance_bars, "okx": okx_bars, "bybit": bybit_bars}
    total = 0
    for (exchange, pair), recorded in recorded_rows().items():
        bars = readers[exchange](replay, pair)
        assert len(bars) == 1642
        assert [bar[0] for bar in bars] == list(range(bars[0][0], bars[0][0] + 1642 * EIGHT_HOURS, EIGHT_HOURS))
        for bar, row in zip(bars, recorded, strict=True):
            told = [Decimal(value) for value in bar[1:]]
            assert told == [Decimal(row[name]) for name in ("open", "high", "low", "close", "volume")]
        total += len(bars)
    assert total == 29_556


@needs_recordings
@pytest.mark.parametrize(
    ("exchange", "pair", "host", "path", "query"),
    [
        ("binance", "BTCUSDT", "fapi.binance.com", "/fapi/v1/fundingRate", {"symbol": "BTCUSDT"}),
        ("binance", "ETHUSDCM", "dapi.binance.com", "/dapi/v1/fundingRate", {"symbol": "ETHUSD_PERP"}),
        ("okx", "BTCUSDT", "www.okx.com", "/api/v5/public/funding-rate-history", {"instId": "BTC-USDT-SWAP"}),
        (
            "bybit",
            "ETHUSDT",
            "api.bybit.com",
            "/v5/market/funding/history",
            {"category": "linear", "symbol": "ETHUSDT"},
        ),
    ],
)
def test_replay_when_funding_is_paged_then_every_rate_is_the_recorded_decimal(
    replay: Sandbox, exchange: str, pair: str, host: str, path: str, query: dict[str, str]
) -> None:
    rates: dict[int, str] = {}
    first, last = local_to_milliseconds("2023-01-01 00:00:00"), local_to_milliseconds("2024-07-01 01:00:00")
    for start in range(first, last + 1, 90 * EIGHT_HOURS):
        end = start + 90 * EIGHT_HOURS - 1
        bounds = {"before": start - 1, "after": end + 1} if exchange == "okx" else {"startTime": start, "endTime": end}
        body = ask(replay, host, path, limit=100, **bounds, **query)
        rows = body if exchange == "binance" else body["data"] if exchange == "okx" else body["result"]["list"]
        time_name = "fundingRateTimestamp" if exchange == "bybit" else "fundingTime"
        rates |= {int(row[time_name]): row["fundingRate"] for row in rows}
    recorded = recorded_rows()[exchange, pair]
    assert len(rates) == len(recorded) == 1642
    assert [Decimal(rates[at]) for at in sorted(rates)] == [Decimal(row["funding rate"]) for row in recorded]
    assert not any("e" in rate.lower() for rate in rates.values())


@needs_recordings
def test_replay_when_now_is_inside_the_history_then_nothing_later_is_shown() -> None:
    clock = Clock(datetime(2023, 6, 1, 12, tzinfo=UTC))
    sandbox = build("replay", replay_csv=HISTORY, clock=clock)
    rows = ask(sandbox, "api.binance.com", "/api/v3/klines", symbol="BTCUSDT", interval="8h", limit=3)
    assert [utc(row[0]) for row in rows] == ["2023-05-31 08:00", "2023-05-31 16:00", "2023-06-01 00:00"]
    funding = ask(sandbox, "fapi.binance.com", "/fapi/v1/fundingRate", symbol="BTCUSDT", limit=1)
    assert utc(funding[0]["fundingTime"]) == "2023-06-01 08:00"


@needs_recordings
def test_replay_when_something_was_not_recorded_then_404_and_nothing_invented(replay: Sandbox) -> None:
    query = {"symbol": "BTCUSDT"}
    assert "history" in ask(replay, "fapi.binance.com", "/fapi/v1/premiumIndex", status=404, **query)["sandbox"]
    query |= {"interval": "1h"}
    assert "8 h" in ask(replay, "fapi.binance.com", "/fapi/v1/klines", status=404, **query)["sandbox"]


def test_replay_when_a_bar_is_revised_at_the_start_then_it_is_served_so(tmp_path: Path) -> None:
    path = history_file(tmp_path, "2023-06-01 01:00:00,okx,bitcoin,BTC/USDT,spot,5,8,4,6.10,1,")
    where = {"venue": "okx", "market": "spot", "symbol": "BTC-USDT", "minutes": 480}
    revision = {**where, "at": "2023-06-01T00:00:00+00:00", "field": "close", "value": "7.25"}
    sandbox = build("replay", replay_csv=path, clock=AFTERWARDS, revisions=[revision])
    rows = ask(sandbox, "www.okx.com", "/api/v5/market/candles", instId="BTC-USDT", bar="8H")["data"]
    assert rows[0][:6] == ["1685577600000", "5", "8", "4", "7.25", "1"]
    with pytest.raises(ValueError, match="no listing"):
        build("replay", replay_csv=path, revisions=[{**revision, "symbol": "ETH-USDT"}])


def test_bodies_when_host_path_and_query_fit_then_the_file_is_served_verbatim(tmp_path: Path) -> None:
    (tmp_path / "any.json").write_bytes(b'{"any": 1}')
    (tmp_path / "btc.json.gz").write_bytes(gzip.compress(b'{"btc":  2}'))
    where = {"host": "api.example.com", "path": "/v1/data"}
    entries = [
        {**where, "file": "any.json"},
        {**where, "file": "btc.json.gz", "query": {"symbol": "BTC"}, "status": 203},
    ]
    (tmp_path / "bodies.json").write_text(json.dumps(entries))
    sandbox = build("replay", bodies=tmp_path)
    reply, _ = sandbox.answer(Call("api.example.com", "/v1/data", {"symbol": "BTC", "other": "1"}))
    assert (reply.status, reply.body) == (203, b'{"btc":  2}')
    assert sandbox.answer(Call("api.example.com", "/v1/data", {"symbol": "ETH"}))[0].body == b'{"any": 1}'
    assert sandbox.answer(Call("api.example.com", "/v1/else"))[0].status == 404


def test_bodies_when_a_file_is_missing_then_the_start_fails(tmp_path: Path) -> None:
    (tmp_path / "bodies.json").write_text('[{"host": "a", "path": "/", "file": "gone.json"}]')
    with pytest.raises(ValueError, match=r"gone\.json"):
        build("replay", bodies=tmp_path)
