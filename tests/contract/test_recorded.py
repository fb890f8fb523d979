"""What Binance, OKX and Bybit really sent: counts and values of the recordings' manifest, and what ccxt made of them.

Everything goes through `parse_file`, so this is also what `coinswarm parse` prints.
"""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from tests.support import RECORDED, needs_recordings

from coinswarm.datasets.records import Record
from coinswarm.sources import source_named
from coinswarm.sources.files import parse_file
from coinswarm.sources.parsing import parse_payload, parser_for
from coinswarm.sources.spec import Request

pytestmark = [pytest.mark.contract, needs_recordings]

Lines = list[dict[str, Any]]


def _parse(source: str, dataset: str, file: str, symbol: str = "", timeframe: str = "") -> Lines:
    lines = list(parse_file(source, dataset, RECORDED / file, symbol=symbol, timeframe=timeframe))
    assert not [line for line in lines if "rejected" in line], "nothing of a real body is rejected"
    return lines


def _oracle(file: str) -> Any:
    return json.loads((RECORDED / file).read_text(), parse_float=Decimal)


def _at(line: dict[str, Any]) -> int:
    return round(datetime.fromisoformat(line["event_at"]).timestamp() * 1000)


def _bar(line: dict[str, Any]) -> list[Any]:
    names = ("open", "high", "low", "close", "volume_base")
    return [_at(line), *(Decimal(line[name]) for name in names)]


FILES: tuple[tuple[str, str, str, str, str, int, dict[str, Any], dict[str, Any]], ...] = (
    (
        "binance",
        "funding_rates",
        "binance_coinm__funding_rate__1.json",
        "",
        "",
        50,
        {
            "symbol": "BTC-USD-PERP",
            "event_at": "2020-11-01T08:00:00+00:00",
            "rate": "0.00010000",
            "interval_hours": "8",
            "kind": "settled",
        },
        {
            "event_at": "2020-11-17T16:00:00+00:00",
            "settled_at": "2020-11-17T16:00:00.008000+00:00",
            "rate": "0.00010000",
        },
    ),
    (
        "binance",
        "long_short_ratios",
        "binance_coinm__long_short_ratio_global__1.json",
        "",
        "",
        6,
        {"symbol": "BTC-USD-PERP", "event_at": "2020-10-29T02:05:00+00:00", "ratio": "1.6130", "period": "5m"},
        {"event_at": "2020-10-29T02:30:00+00:00", "ratio": "1.6192", "ratio_kind": "global_accounts"},
    ),
    (
        "binance",
        "open_interest",
        "binance_coinm__open_interest_hist__1.json",
        "BTC-25DEC20",
        "",
        6,
        {
            "event_at": "2020-10-18T01:30:00+00:00",
            "open_interest_native": "284391.00000000",
            "open_interest_base": "2451.46068891",
            "open_interest_usd": "28439100.00000000",
        },
        {"event_at": "2020-10-18T01:55:00+00:00", "open_interest_native": "286574.00000000"},
    ),
    (
        "binance",
        "trades",
        "binance_spot__agg_trades__1.json",
        "BTC-USDT",
        "",
        1000,
        {"trade_id": "202790190", "price": "7139.89000000", "size_base": "0.06702300", "trade_kind": "aggregate"},
        {"trade_id": "202791189", "price": "7137.19000000", "size_base": "0.10400100"},
    ),
    (
        "binance",
        "trades",
        "binance_usdm__agg_trades__1.json",
        "LTC-USDT-PERP",
        "",
        500,
        {"trade_id": "19427407", "price": "49.73", "size_base": "0.001", "side": "sell"},
        {"trade_id": "19427906", "price": "49.73", "size_base": "0.061"},
    ),
    (
        "binance",
        "ohlcv",
        "binance_spot__klines__1.json",
        "BTC-USDT",
        "1d",
        365,
        {
            "event_at": "2019-01-01T00:00:00+00:00",
            "open": "3701.23000000",
            "high": "3810.16000000",
            "low": "3642.00000000",
            "close": "3797.14000000",
            "volume_base": "23741.68703300",
        },
        {"event_at": "2019-12-31T00:00:00+00:00", "close": "7195.23000000", "volume_base": "25954.45353300"},
    ),
    (
        "binance",
        "ohlcv",
        "binance_spot__klines__2.json",
        "BTC-USDT",
        "1h",
        3,
        {"open": "69100.00000000", "trade_count": 103999, "taker_buy_quote": "12254392.09984110"},
        {"close": "69383.06000000", "volume_quote": "55448494.90508690"},
    ),
    (
        "binance",
        "ohlcv",
        "binance_usdm__klines__1.json",
        "BTC-USDT-PERP",
        "1d",
        116,
        {"event_at": "2019-09-08T00:00:00+00:00", "open": "10000", "close": "10391.63", "volume_base": "3096.291"},
        {"event_at": "2020-01-01T00:00:00+00:00", "open": "7189.43", "volume_base": "56801.329"},
    ),
    (
        "binance",
        "long_short_ratios",
        "binance_usdm__long_short_ratio_global__1.json",
        "",
        "",
        10,
        {"symbol": "BTC-USDT-PERP", "event_at": "2020-10-16T03:55:00+00:00", "ratio": "1.2952"},
        {"event_at": "2020-10-16T04:40:00+00:00", "ratio": "1.4606"},
    ),
    ("binance", "tickers", "binance_spot__ticker__1.json", "", "", 1, {"symbol": "BTC-USDT"}, {}),
    (
        "binance",
        "order_books",
        "binance_spot__depth_snapshot__1.txt.gz",
        "",
        "",
        2,
        {"symbol": "NKNUSDT", "last_update_id": 499869752, "event_at": "2021-10-12T00:28:32.320639+00:00"},
        {"symbol": "LRCBTC", "last_update_id": 259345543},
    ),
    (
        "binance",
        "order_books",
        "binance_usdm__depth_snapshot__1.txt.gz",
        "",
        "",
        2,
        {"symbol": "SUSHIUSDT", "last_update_id": 600859605926},
        {"symbol": "KEEPUSDT", "last_update_id": 600859619434},
    ),
    (
        "okx",
        "ohlcv",
        "okx__klines__1.json",
        "BTC-USDT",
        "1h",
        3,
        {"event_at": "2026-02-08T06:00:00+00:00", "open": "69223.3", "volume_base": "121.64947141", "final": False},
        {"event_at": "2026-02-08T04:00:00+00:00", "volume_quote": "11047910.127089599", "final": True},
    ),
    (
        "okx",
        "trades",
        "okx__trades__1.json",
        "",
        "",
        5,
        {"symbol": "BTC-USDT", "trade_id": "954514612", "price": "69344.1", "size_base": "0.08757235", "side": "sell"},
        {"trade_id": "954514608", "price": "69344.5", "size_base": "0.00216311"},
    ),
    ("okx", "tickers", "okx__ticker__1.json", "", "", 1, {"symbol": "BTC-USDT", "last": "69344.1"}, {}),
    (
        "okx",
        "instruments",
        "okx__instruments__1.json.gz",
        "",
        "",
        104,
        {"venue_symbol": "BTC-USD-220520", "symbol": "BTC-20MAY22", "contract_size": "100"},
        {"venue_symbol": "XRP-USDT-220930", "symbol": "XRP-USDT-30SEP22"},
    ),
    (
        "bybit",
        "trades",
        "bybit__trades__1.json",
        "",
        "",
        5,
        {"symbol": "BTC-USDT", "trade_id": "2290000001022367683", "price": "69372.6", "side": "buy"},
        {"trade_id": "2290000001022367679", "price": "69373.1", "size_base": "0.143982", "side": "sell"},
    ),
    ("bybit", "tickers", "bybit__ticker__1.json", "", "", 1, {"symbol": "BTC-USDT", "last": "69372.6"}, {}),
    (
        "bybit",
        "tickers",
        "bybit__tickers__1.json.gz",
        "",
        "",
        640,
        {"symbol": "JUSDT", "last": "0.01836"},
        {"symbol": "APEXUSDC", "last": "0.2813"},
    ),
)


@pytest.mark.parametrize(
    ("source", "dataset", "file", "symbol", "timeframe", "count", "first", "last"), FILES, ids=[row[2] for row in FILES]
)
def test_parse_when_body_is_a_recording_then_count_first_and_last_are_the_manifests(
    source: str,
    dataset: str,
    file: str,
    symbol: str,
    timeframe: str,
    count: int,
    first: dict[str, Any],
    last: dict[str, Any],
) -> None:
    lines = _parse(source, dataset, file, symbol, timeframe)
    assert len(lines) == count
    assert {name: lines[0][name] for name in first} == first
    assert {name: lines[-1][name] for name in last} == last
    stated = next(row for row in (RECORDED / "MANIFEST.md").read_text().splitlines() if f"`{file}`" in row)
    assert f"{count} " in stated, "the count is the manifest's"


def test_recordings_when_listed_then_every_rest_body_of_these_venues_is_tested() -> None:
    tested = {row[2] for row in FILES}
    for path in RECORDED.iterdir():
        name = path.name
        ours = name.startswith(("binance_", "okx_", "bybit_"))
        # Captures of streams belong to live ticks; the Bybit CSV is no provider's format.
        if ours and "__ws_" not in name and ".oracle." not in name and not name.endswith(".csv.gz"):
            assert name in tested


def test_parse_when_bars_span_a_year_then_sum_and_steps_are_the_manifests() -> None:
    spot = _parse("binance", "ohlcv", "binance_spot__klines__1.json", "BTC-USDT", "1d")
    assert sum(Decimal(line["volume_base"]) for line in spot) == Decimal("15329974.684892")
    assert {_at(b) - _at(a) for a, b in pairwise(spot)} == {86_400_000}
    usdm = _parse("binance", "ohlcv", "binance_usdm__klines__1.json", "BTC-USDT-PERP", "1d")
    assert sum(Decimal(line["volume_base"]) for line in usdm) == Decimal("11211662.348000")


def test_parse_when_trades_are_aggregates_then_ids_run_on_and_sides_are_the_manifests() -> None:
    lines = _parse("binance", "trades", "binance_spot__agg_trades__1.json", "BTC-USDT")
    assert [int(line["trade_id"]) for line in lines] == list(range(202790190, 202791190))
    assert sum(line["side"] == "sell" for line in lines) == 465


@pytest.mark.parametrize(
    ("file", "best", "sizes"),
    [
        (
            "binance_spot__depth_snapshot__1.txt.gz",
            [
                (["0.35210000", "672.00000000"], ["0.35250000", "3959.00000000"]),
                (["0.00000637", "6500.00000000"], ["0.00000638", "24365.00000000"]),
            ],
            [(609, 1000), (176, 1000)],
        ),
        (
            "binance_usdm__depth_snapshot__1.txt.gz",
            [(["7.6110", "6"], ["7.6120", "297"]), (["0.2463", "631"], ["0.2464", "317"])],
            [(1000, 1000), (400, 612)],
        ),
    ],
)
def test_parse_when_books_are_recorded_then_levels_are_the_manifests(
    file: str, best: list[Any], sizes: list[tuple[int, int]]
) -> None:
    lines = _parse("binance", "order_books", file)
    assert [(line["bids"][0], line["asks"][0]) for line in lines] == best
    assert [(len(line["bids"]), len(line["asks"])) for line in lines] == sizes


@pytest.mark.parametrize(
    ("source", "file"), [("binance", "binance_spot__klines__2"), ("okx", "okx__klines__1")], ids=["binance", "okx"]
)
def test_parse_when_ccxt_read_the_same_bars_then_they_are_equal(source: str, file: str) -> None:
    lines = _parse(source, "ohlcv", f"{file}.json", "BTC-USDT", "1h")
    assert sorted(_bar(line) for line in lines) == _oracle(f"{file}.oracle.json")


@pytest.mark.parametrize("source", ["okx", "bybit"])
def test_parse_when_ccxt_read_the_same_trades_then_they_are_equal(source: str) -> None:
    lines = {line["trade_id"]: line for line in _parse(source, "trades", f"{source}__trades__1.json")}
    expected = _oracle(f"{source}__trades__1.oracle.json")
    assert len(expected) == len(lines)
    for trade in expected:
        line = lines[trade["id"]]
        assert _at(line) == trade["timestamp"]
        assert (line["side"], line["symbol"]) == (trade["side"], trade["symbol"].replace("/", "-"))
        assert (Decimal(line["price"]), Decimal(line["size_base"])) == (trade["price"], trade["amount"])


TICKER = {
    "last": "last",
    "bid": "bid",
    "bid_size": "bidVolume",
    "ask": "ask",
    "ask_size": "askVolume",
    "open": "open",
    "high": "high",
    "low": "low",
    "volume_base": "baseVolume",
    "volume_quote": "quoteVolume",
}


@pytest.mark.parametrize(
    ("source", "file"),
    [
        ("binance", "binance_spot__ticker__1"),
        ("okx", "okx__ticker__1"),
        ("bybit", "bybit__ticker__1"),
        ("bybit", "bybit__tickers__1"),
    ],
)
def test_parse_when_ccxt_read_the_same_tickers_then_they_are_equal(source: str, file: str) -> None:
    packed = f"{file}.json.gz" if (RECORDED / f"{file}.json.gz").exists() else f"{file}.json"
    lines = {line["symbol"]: line for line in _parse(source, "tickers", packed)}
    expected = _oracle(f"{file}.oracle.json")
    for ticker in [expected] if "symbol" in expected else expected.values():
        line = lines[ticker["symbol"].replace("/", "-")]
        for ours, theirs in TICKER.items():
            # ccxt keeps floats: equal as floats, ours has the digits.
            assert float(line[ours]) == float(ticker[theirs]), ours
        if ticker["timestamp"]:
            assert _at(line) == ticker["timestamp"]


def test_parse_when_the_last_bar_was_open_at_reception_then_it_is_not_final() -> None:
    body = (RECORDED / "binance_spot__klines__2.json").read_bytes()
    request = Request(
        "binance",
        "ohlcv",
        "publicGetKlines",
        symbol="BTC-USDT",
        market="spot",
        timeframe="1h",
        received_at=datetime.fromisoformat("2026-02-08T06:19:06+00:00"),
    )
    outcomes = list(parse_payload(parser_for(source_named("binance"), "ohlcv"), body, request))
    assert [outcome.final for outcome in outcomes if isinstance(outcome, Record)] == [True, True, False]
