"""Each venue's rules: limits, order, open bars, refusals and units, without a socket."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from coinswarm.sandbox.application import Sandbox
from coinswarm.sandbox.protocol import Call, Clock
from coinswarm.sandbox.server import build

pytestmark = pytest.mark.unit

NOW = datetime(2026, 3, 4, 12, 34, 56, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.fixture(scope="module")
def sandbox() -> Sandbox:
    return build("simulate", clock=Clock(NOW))


def ask(sandbox: Sandbox, host: str, path: str, *, status: int = 200, **query: object) -> Any:
    reply, fault = sandbox.answer(Call(host, path, {name: str(value) for name, value in query.items()}))
    assert fault is None
    assert reply.status == status, reply.body[:300]
    return json.loads(reply.body)


def columns(rows: list[list[Any]], index: int = 0) -> list[int]:
    return [int(row[index]) for row in rows]


# ---- binance

KLINES = [
    ("api.binance.com", "/api/v3/klines", "BTCUSDT", 1000),
    ("data-api.binance.vision", "/api/v3/klines", "ETHBTC", 1000),
    ("fapi.binance.com", "/fapi/v1/klines", "BTCUSDT", 1500),
    ("dapi.binance.com", "/dapi/v1/klines", "BTCUSD_PERP", 1500),
]


@pytest.mark.parametrize(("host", "path", "symbol", "largest"), KLINES)
def test_binance_klines_when_no_range_then_the_latest_and_the_last_is_open(
    sandbox: Sandbox, host: str, path: str, symbol: str, largest: int
) -> None:
    rows = ask(sandbox, host, path, symbol=symbol, interval="15m", limit=9999)
    assert len(rows) == largest
    assert columns(rows) == list(range(rows[0][0], rows[-1][0] + 1, 15 * MINUTE))
    assert rows[-1][0] <= NOW_MS < rows[-1][6]
    assert all(len(row) == 12 and isinstance(row[1], str) and isinstance(row[8], int) for row in rows)
    assert len(ask(sandbox, host, path, symbol=symbol, interval="15m")) == 500


@pytest.mark.parametrize(("host", "path", "symbol", "largest"), KLINES)
def test_binance_klines_when_start_only_then_the_oldest_first(
    sandbox: Sandbox, host: str, path: str, symbol: str, largest: int
) -> None:
    start = NOW_MS - 100 * HOUR
    rows = ask(sandbox, host, path, symbol=symbol, interval="1h", startTime=start, limit=5)
    assert columns(rows) == [start - start % HOUR + HOUR * n for n in range(1, 6)]
    both = {"startTime": rows[1][0], "endTime": rows[3][0]}
    assert ask(sandbox, host, path, symbol=symbol, interval="1h", **both) == rows[1:4]


def test_binance_coinm_when_bars_then_volume_is_contracts_and_turnover_coin(sandbox: Sandbox) -> None:
    row = ask(sandbox, "dapi.binance.com", "/dapi/v1/klines", symbol="BTCUSD_PERP", interval="1h", limit=2)[0]
    assert "." not in row[5]
    coins = int(row[5]) * 100 / Decimal(row[4])
    assert abs(coins / Decimal(row[7]) - 1) < Decimal("0.02")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"interval": "1h"}, -1102),
        ({"symbol": "BTC-USD", "interval": "1h"}, -1121),
        ({"symbol": "BTCUSDT", "interval": "7m"}, -1120),
        ({"symbol": "BTCUSDT", "interval": "1h", "startTime": "soon"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1h", "startTime": "9" * 40}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1h", "limit": "0"}, -1100),
        ({"symbol": "BTCUSDT", "interval": "1h", "startTime": "2", "endTime": "1"}, -1127),
    ],
)
def test_binance_when_a_parameter_is_wrong_then_its_error_envelope(
    sandbox: Sandbox, query: dict[str, str], code: int
) -> None:
    assert ask(sandbox, "fapi.binance.com", "/fapi/v1/klines", status=400, **query)["code"] == code


def test_binance_coinm_when_the_range_is_over_200_days_then_refused(sandbox: Sandbox) -> None:
    query = {"symbol": "BTCUSD_PERP", "interval": "1d", "startTime": NOW_MS - 201 * DAY, "endTime": NOW_MS}
    ask(sandbox, "dapi.binance.com", "/dapi/v1/klines", status=400, **query)


def test_binance_funding_when_asked_then_stamps_are_late_and_the_range_applies_to_them(sandbox: Sandbox) -> None:
    path = ("fapi.binance.com", "/fapi/v1/fundingRate")
    rows = ask(sandbox, *path, symbol="BTCUSDT", startTime=NOW_MS - 300 * DAY, limit=5000)
    late = [row["fundingTime"] % (8 * HOUR) for row in rows]
    assert 899 <= len(rows) <= 1000
    assert set(late) <= set(range(11))
    assert len(set(late)) > 5
    event = next(row for row in rows if row["fundingTime"] % (8 * HOUR) > 0)
    exact = event["fundingTime"] // (8 * HOUR) * 8 * HOUR
    assert ask(sandbox, *path, symbol="BTCUSDT", startTime=exact - HOUR, endTime=exact) == []
    assert ask(sandbox, *path, symbol="BTCUSDT", startTime=exact, endTime=exact + 20) == [event]


@pytest.mark.parametrize(
    "name", ["openInterestHist", "globalLongShortAccountRatio", "topLongShortPositionRatio", "takerlongshortRatio"]
)
def test_binance_statistics_when_older_than_thirty_days_then_refused(sandbox: Sandbox, name: str) -> None:
    path = ("fapi.binance.com", f"/futures/data/{name}")
    rows = ask(sandbox, *path, symbol="BTCUSDT", period="5m", limit=9999)
    assert len(rows) in (499, 500)
    assert rows == sorted(rows, key=lambda row: row["timestamp"])
    old = {"symbol": "BTCUSDT", "period": "5m", "startTime": NOW_MS - 45 * DAY}
    assert ask(sandbox, *path, status=400, **old)["code"] == -1130


# ---- coinbase

CANDLES = ("api.coinbase.com", "/api/v3/brokerage/market/products/ETH-BTC/candles")


def test_coinbase_candles_when_quiet_then_intervals_are_left_out_and_newest_is_first(sandbox: Sandbox) -> None:
    end = NOW_MS // 1000
    rows = ask(sandbox, *CANDLES, granularity="ONE_MINUTE", start=end - 300 * 60, end=end)["candles"]
    starts = [int(row["start"]) for row in rows]
    assert starts == sorted(starts, reverse=True)
    assert 150 < len(starts) < 295
    assert all(isinstance(value, str) for row in rows for value in row.values())


def test_coinbase_candles_when_more_than_350_then_refused(sandbox: Sandbox) -> None:
    end = NOW_MS // 1000
    ask(sandbox, *CANDLES, granularity="ONE_MINUTE", start=end - 349 * 60, end=end)
    error = ask(sandbox, *CANDLES, status=400, granularity="ONE_MINUTE", start=end - 351 * 60, end=end)
    assert error["error"] == "INVALID_ARGUMENT"
    assert "350" in error["message"]


def test_coinbase_candles_when_the_end_is_a_bar_then_it_is_included(sandbox: Sandbox) -> None:
    start = NOW_MS // HOUR * 3600 - 10 * 3600
    rows = ask(sandbox, *CANDLES, granularity="ONE_HOUR", start=start, end=start + 2 * 3600)["candles"]
    assert [int(row["start"]) - start for row in rows] == [7200, 3600, 0]


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/api/v3/brokerage/market/products/NO-PE/candles", {"granularity": "ONE_HOUR", "start": 1, "end": 2}, 404),
        ("/api/v3/brokerage/market/products/BTC-USD/candles", {"granularity": "1h", "start": 1, "end": 2}, 400),
        ("/api/v3/brokerage/market/products/BTC-USD/candles", {"granularity": "ONE_HOUR"}, 400),
    ],
)
def test_coinbase_when_a_parameter_is_wrong_then_its_error_envelope(
    sandbox: Sandbox, path: str, query: dict[str, Any], status: int
) -> None:
    assert set(ask(sandbox, "api.coinbase.com", path, status=status, **query)) == {"error", "error_details", "message"}


# ---- kraken


@pytest.mark.parametrize("pair", ["XXBTZUSD", "XBTUSD", "XBT/USD", "BTC/USD"])
def test_kraken_ohlc_when_asked_by_any_name_then_the_latest_720_and_the_open_one(sandbox: Sandbox, pair: str) -> None:
    result = ask(sandbox, "api.kraken.com", "/0/public/OHLC", pair=pair, interval=1, since=1)["result"]
    rows = result["XXBTZUSD"]
    assert len(rows) == 721
    assert result["last"] == rows[-2][0]
    assert rows[-1][0] == NOW_MS // MINUTE * 60
    assert any(row[7] == 0 for row in rows)
    since = rows[700][0]
    fewer = ask(sandbox, "api.kraken.com", "/0/public/OHLC", pair=pair, interval=1, since=since)["result"]
    assert fewer["XXBTZUSD"] == rows[701:]


def test_kraken_when_new_names_are_asked_then_the_old_are_absent(sandbox: Sandbox) -> None:
    result = ask(sandbox, "api.kraken.com", "/0/public/Ticker", assetVersion=1)["result"]
    assert "BTC/USD" in result
    assert "XXBTZUSD" not in result


def test_kraken_when_the_pair_is_unknown_then_an_error_list_with_http_200(sandbox: Sandbox) -> None:
    assert ask(sandbox, "api.kraken.com", "/0/public/OHLC", pair="BTC-USD")["error"] == ["EQuery:Unknown asset pair"]


def test_kraken_futures_when_candles_exceed_a_page_then_it_says_more(sandbox: Sandbox) -> None:
    path = ("futures.kraken.com", "/api/charts/v1/trade/PF_XBTUSD/1m")
    end = NOW_MS // 1000
    body = ask(sandbox, *path, **{"from": end - 3000 * 60, "to": end})
    assert len(body["candles"]) == 2000
    assert body["more_candles"] is True
    rest = ask(sandbox, *path, **{"from": body["candles"][-1]["time"] // 1000 + 60, "to": end})
    assert rest["more_candles"] is False
    assert len(rest["candles"]) == 1000


def test_kraken_futures_when_funding_then_absolute_is_relative_times_price(sandbox: Sandbox) -> None:
    path = ("futures.kraken.com", "/derivatives/api/v4/historicalfundingrates")
    rates = ask(sandbox, *path, symbol="PF_XBTUSD")["rates"]
    assert rates[-1]["timestamp"] == "2026-03-04T12:00:00Z"
    assert rates[-1]["fundingRate"] / rates[-1]["relativeFundingRate"] > 10_000
    ticker = ask(sandbox, "futures.kraken.com", "/derivatives/api/v3/tickers/PF_XBTUSD")["ticker"]
    relative = ticker["fundingRate"] / ticker["indexPrice"]
    assert relative == pytest.approx(rates[-1]["relativeFundingRate"], rel=1e-3)


# ---- okx


@pytest.mark.parametrize(("path", "instrument"), [("candles", "BTC-USDT"), ("history-candles", "BTC-USDT-SWAP")])
def test_okx_candles_when_asked_then_newest_first_and_only_the_newest_is_unconfirmed(
    sandbox: Sandbox, path: str, instrument: str
) -> None:
    rows = ask(sandbox, "www.okx.com", f"/api/v5/market/{path}", instId=instrument, bar="1H", limit=999)["data"]
    assert len(rows) == 300
    assert columns(rows) == sorted(columns(rows), reverse=True)
    assert [row[8] for row in rows] == ["0"] + ["1"] * 299
    assert len(ask(sandbox, "www.okx.com", f"/api/v5/market/{path}", instId=instrument)["data"]) == 100
    bounded = {"after": rows[3][0], "before": rows[8][0]}
    asked = ask(sandbox, "www.okx.com", f"/api/v5/market/{path}", instId=instrument, bar="1H", **bounded)["data"]
    assert asked == rows[4:8]


def test_okx_candles_when_daily_then_they_open_at_hong_kong_midnight_unless_utc(sandbox: Sandbox) -> None:
    path = ("www.okx.com", "/api/v5/market/history-candles")
    local = columns(ask(sandbox, *path, instId="BTC-USDT", bar="1D", limit=3)["data"])
    utc = columns(ask(sandbox, *path, instId="BTC-USDT", bar="1Dutc", limit=3)["data"])
    assert {at % DAY for at in local} == {16 * HOUR}
    assert {at % DAY for at in utc} == {0}


def test_okx_swap_when_bars_then_contracts_coin_and_dollars_agree(sandbox: Sandbox) -> None:
    path = ("www.okx.com", "/api/v5/market/history-candles")
    linear = ask(sandbox, *path, instId="BTC-USDT-SWAP", bar="1H", limit=2)["data"][1]
    assert Decimal(linear[5]) * Decimal("0.01") == Decimal(linear[6])
    inverse = ask(sandbox, *path, instId="BTC-USD-SWAP", bar="1H", limit=2)["data"][1]
    assert Decimal(inverse[5]) * 100 == Decimal(inverse[7])


def test_okx_funding_when_asked_then_three_months_newest_first(sandbox: Sandbox) -> None:
    path = ("www.okx.com", "/api/v5/public/funding-rate-history")
    rows = ask(sandbox, *path, instId="BTC-USDT-SWAP", limit=400)["data"]
    times = [int(row["fundingTime"]) for row in rows]
    assert times == sorted(times, reverse=True)
    assert len(rows) == 279
    live = ask(sandbox, "www.okx.com", "/api/v5/public/funding-rate", instId="BTC-USDT-SWAP")["data"][0]
    assert int(live["nextFundingTime"]) - int(live["fundingTime"]) == 8 * HOUR


def test_okx_taker_volume_when_asked_then_rows_are_time_sell_buy(sandbox: Sandbox) -> None:
    path = ("www.okx.com", "/api/v5/rubik/stat/taker-volume-contract")
    at, sell, buy = ask(sandbox, *path, instId="BTC-USDT-SWAP", period="15m", unit=0, limit=2)["data"][0]
    bars = ask(sandbox, "www.okx.com", "/api/v5/market/history-candles", instId="BTC-USDT-SWAP", bar="15m")["data"]
    bar = next(row for row in bars if row[0] == at)
    assert Decimal(sell) + Decimal(buy) == Decimal(bar[6])


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"instId": "NO-PE"}, 200, "51001"),
        ({"instId": "BTC-USDT", "bar": "8H"}, 400, "51000"),
        ({"bar": "1H"}, 400, "50014"),
        ({"instId": "BTC-USDT", "after": "x"}, 400, "51000"),
    ],
)
def test_okx_when_a_parameter_is_wrong_then_its_error_envelope(
    sandbox: Sandbox, query: dict[str, str], status: int, code: str
) -> None:
    body = ask(sandbox, "www.okx.com", "/api/v5/market/candles", status=status, **query)
    assert (body["code"], body["data"]) == (code, [])


# ---- bybit

BYBIT = "api.bybit.com"


def test_bybit_kline_when_asked_then_newest_first_and_inverse_volume_in_dollars(sandbox: Sandbox) -> None:
    query = {"category": "inverse", "symbol": "BTCUSD", "interval": 60}
    rows = ask(sandbox, BYBIT, "/v5/market/kline", limit=5000, **query)["result"]["list"]
    assert len(rows) == 1000
    assert columns(rows) == sorted(columns(rows), reverse=True)
    assert int(rows[0][0]) + HOUR > NOW_MS
    assert abs(Decimal(rows[1][5]) / Decimal(rows[1][4]) / Decimal(rows[1][6]) - 1) < Decimal("0.02")
    assert len(ask(sandbox, BYBIT, "/v5/market/kline", **query)["result"]["list"]) == 200


def test_bybit_kline_when_start_only_then_the_page_begins_there(sandbox: Sandbox) -> None:
    start = NOW_MS // HOUR * HOUR - 50 * HOUR
    query = {"category": "linear", "symbol": "BTCUSDT", "interval": 60, "start": start, "limit": 3}
    rows = ask(sandbox, BYBIT, "/v5/market/kline", **query)["result"]["list"]
    assert columns(rows) == [start + 2 * HOUR, start + HOUR, start]


def test_bybit_funding_when_start_alone_then_refused(sandbox: Sandbox) -> None:
    query = {"category": "linear", "symbol": "BTCUSDT"}
    path = (BYBIT, "/v5/market/funding/history")
    refused = ask(sandbox, *path, startTime=NOW_MS - DAY, **query)
    assert (refused["retCode"], refused["result"]) == (10001, {})
    rows = ask(sandbox, *path, startTime=NOW_MS - DAY, endTime=NOW_MS, **query)["result"]["list"]
    assert [int(row["fundingRateTimestamp"]) % (8 * HOUR) for row in rows] == [0, 0, 0]
    assert len(ask(sandbox, *path, limit=999, **query)["result"]["list"]) == 200


def test_bybit_open_interest_when_asked_then_it_counts_both_sides_and_pages_back(sandbox: Sandbox) -> None:
    query = {"category": "linear", "symbol": "BTCUSDT", "intervalTime": "5min", "limit": 40}
    path = (BYBIT, "/v5/market/open-interest")
    first = ask(sandbox, *path, **query)["result"]
    second = ask(sandbox, *path, cursor=first["nextPageCursor"], **query)["result"]
    times = [int(row["timestamp"]) for row in first["list"] + second["list"]]
    assert times == list(range(times[0], times[0] - 80 * 5 * MINUTE, -5 * MINUTE))
    for row in first["list"]:
        assert Decimal(row["openInterest"]) == 2 * Decimal(row["singleOpenInterest"])


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("kline", {"category": "swap", "symbol": "BTCUSDT", "interval": "1"}),
        ("kline", {"category": "linear", "symbol": "BTC-USD", "interval": "1"}),
        ("kline", {"category": "linear", "symbol": "BTCUSDT", "interval": "480"}),
        ("funding/history", {"category": "spot", "symbol": "BTCUSDT"}),
        ("open-interest", {"category": "linear", "symbol": "BTCUSDT", "intervalTime": "5m"}),
        ("account-ratio", {"category": "linear", "symbol": "BTCUSDT", "period": "5min", "cursor": "x"}),
    ],
)
def test_bybit_when_a_parameter_is_wrong_then_a_code_with_http_200(
    sandbox: Sandbox, path: str, query: dict[str, str]
) -> None:
    assert ask(sandbox, BYBIT, f"/v5/market/{path}", **query)["retCode"] == 10001


# ---- deribit

DERIBIT = "www.deribit.com"


def test_deribit_chart_when_asked_then_one_array_per_column(sandbox: Sandbox) -> None:
    query = {"instrument_name": "BTC-PERPETUAL", "resolution": 60, "end_timestamp": NOW_MS}
    path = (DERIBIT, "/api/v2/public/get_tradingview_chart_data")
    result = ask(sandbox, *path, start_timestamp=NOW_MS - 5 * HOUR, **query)["result"]
    assert {len(result[name]) for name in ("ticks", "open", "high", "low", "close", "volume", "cost")} == {5}
    assert abs(result["cost"][0] / result["close"][0] / result["volume"][0] - 1) < 0.02
    assert all(isinstance(value, (int, float)) for value in result["open"])


def test_deribit_funding_when_asked_then_eight_hours_are_the_sum_of_the_hours(sandbox: Sandbox) -> None:
    query = {"instrument_name": "BTC-PERPETUAL", "start_timestamp": NOW_MS - 20 * HOUR, "end_timestamp": NOW_MS}
    rows = ask(sandbox, DERIBIT, "/api/v2/public/get_funding_rate_history", **query)["result"]
    assert len(rows) == 20
    assert sum(row["interest_1h"] for row in rows[-8:]) == pytest.approx(rows[-1]["interest_8h"], abs=1e-12)


def test_deribit_index_when_more_than_a_page_then_continuation_leads_back(sandbox: Sandbox) -> None:
    path = (DERIBIT, "/api/v2/public/get_volatility_index_data")
    query = {"currency": "BTC", "resolution": 3600, "start_timestamp": NOW_MS - 1500 * HOUR}
    first = ask(sandbox, *path, end_timestamp=NOW_MS, **query)["result"]
    assert len(first["data"]) == 1000
    second = ask(sandbox, *path, end_timestamp=first["continuation"], **query)["result"]
    assert second["continuation"] is None
    times = columns(second["data"] + first["data"])
    assert times == list(range(times[0], times[-1] + 1, HOUR))
    assert len(times) == 1500


def test_deribit_summary_when_options_then_every_listed_one_has_a_volatility(sandbox: Sandbox) -> None:
    query = {"currency": "ETH", "kind": "option"}
    rows = ask(sandbox, DERIBIT, "/api/v2/public/get_book_summary_by_currency", **query)["result"]
    names = {row["instrument_name"] for row in rows}
    listed = ask(sandbox, DERIBIT, "/api/v2/public/get_instruments", **query)["result"]
    assert names == {row["instrument_name"] for row in listed}
    assert len(names) > 200
    assert all(row["mark_iv"] > 0 for row in rows)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("get_tradingview_chart_data", {"instrument_name": "BTCUSD", "resolution": "60"}),
        ("get_tradingview_chart_data", {"instrument_name": "BTC-PERPETUAL", "resolution": "7"}),
        ("get_book_summary_by_currency", {"currency": "DOGE"}),
        ("get_index_price", {"index_name": "btc"}),
        ("ticker", {"instrument_name": "BTC-1JAN20-5-C"}),
    ],
)
def test_deribit_when_a_parameter_is_wrong_then_a_json_rpc_error(
    sandbox: Sandbox, path: str, query: dict[str, str]
) -> None:
    body = ask(sandbox, DERIBIT, f"/api/v2/public/{path}", status=400, **query)
    assert body["error"]["code"] == -32602
    assert "result" not in body


# ---- all


def test_sandbox_when_provider_or_path_is_unknown_then_404_says_which(sandbox: Sandbox) -> None:
    assert "no provider" in ask(sandbox, "api.example.com", "/x", status=404)["sandbox"]
    assert "no endpoint" in ask(sandbox, "api.bybit.com", "/v4/market/kline", status=404)["sandbox"]


def test_sandbox_when_the_clock_stands_then_the_same_call_gives_the_same_bytes(sandbox: Sandbox) -> None:
    calls = [
        Call("api.kraken.com", "/0/public/OHLC", {"pair": "XBTUSD"}),
        Call("www.deribit.com", "/api/v2/public/get_book_summary_by_currency", {"currency": "BTC"}),
        Call("fapi.binance.com", "/fapi/v1/premiumIndex"),
        Call("api.bybit.com", "/v5/market/tickers", {"category": "linear"}),
    ]
    again = build("simulate", clock=Clock(NOW))
    for call in reversed(calls):
        assert sandbox.answer(call)[0].body == again.answer(call)[0].body
