"""Traps of these three venues, one test each, on the smallest body that has it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import ContractViolation, UserError
from coinswarm.registry import INSTRUMENTS
from coinswarm.sources.exchanges import coinbase, deribit, kraken
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.spec import Parser, Request
from coinswarm.timeframes import Window

pytestmark = pytest.mark.unit

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
EPOCH_S = int(NOON.timestamp())
HOUR = timedelta(hours=1)
KRAKEN_BTC = Request("kraken", "ohlcv", "", symbol="BTC-USD", venue_symbol="XXBTZUSD", market="spot", timeframe="1m")
KRAKEN_PERP = Request("kraken", "funding_rates", "", symbol="BTC-USD-PERP", venue_symbol="PF_XBTUSD", market="futures")
DERIBIT_PERP = Request(
    "deribit", "ohlcv", "", symbol="BTC-USD-PERP", venue_symbol="BTC-PERPETUAL", market="perpetual", timeframe="1h"
)
DERIBIT_OPTIONS = Request("deribit", "option_quotes", "", symbol="BTC", venue_symbol="BTC", market="option")
DVOL = Request("deribit", "volatility_indices", "", symbol="BTC", timeframe="1h", start=NOON, end=NOON + 3 * HOUR)


def _parse(parser: Parser, body: Any, request: Request) -> list[Record | Rejected]:
    return list(parse_payload(parser, json.dumps(body).encode(), request))


def _one(parser: Parser, body: Any, request: Request) -> Record:
    (record,) = _parse(parser, body, request)
    assert isinstance(record, Record), record
    return record


def _refused(parser: Parser, body: Any, request: Request) -> Rejected:
    (rejected,) = _parse(parser, body, request)
    assert isinstance(rejected, Rejected), rejected
    return rejected


# ---- Kraken


def _kraken_row(at: int) -> list[Any]:
    return [at, "1.5", "2", "1", "1.7", "1.6", "0.5", 3]


def _kraken_body(*rows: list[Any], pair: str = "XXBTZUSD", last: int = EPOCH_S) -> dict[str, Any]:
    return {"error": [], "result": {pair: list(rows), "last": last}}


@pytest.mark.parametrize("spelling", ["XXBTZUSD", "XBTUSD", "XBT/USD", "BTC/USD"])
def test_kraken_bars_when_the_pair_is_spelled_otherwise_then_it_is_the_same_pair(spelling: str) -> None:
    assert _one(kraken.parse_ohlcv, _kraken_body(_kraken_row(EPOCH_S), pair=spelling), KRAKEN_BTC).symbol == "BTC-USD"


@pytest.mark.parametrize("other", ["XETHZUSD", "XXBTZEUR", "USDT/USD", ""])
def test_kraken_bars_when_another_pair_answers_then_refused(other: str) -> None:
    with pytest.raises(ContractViolation, match="instead of XXBTZUSD"):
        _parse(kraken.parse_ohlcv, _kraken_body(_kraken_row(EPOCH_S), pair=other), KRAKEN_BTC)


def test_kraken_bars_when_after_last_then_open_even_if_the_clock_says_closed() -> None:
    late = replace(KRAKEN_BTC, received_at=NOON + HOUR)
    body = _kraken_body(_kraken_row(EPOCH_S), _kraken_row(EPOCH_S + 60), last=EPOCH_S)
    assert [row.final for row in _parse(kraken.parse_ohlcv, body, late) if isinstance(row, Record)] == [True, False]


def test_kraken_bars_when_the_error_list_says_something_then_it_is_in_the_message() -> None:
    with pytest.raises(ContractViolation, match="EQuery:Unknown asset pair"):
        _parse(kraken.parse_ohlcv, {"error": ["EQuery:Unknown asset pair"]}, KRAKEN_BTC)


def test_kraken_requests_when_a_window_is_asked_then_the_bar_before_it_is_named() -> None:
    instrument = INSTRUMENTS.get("kraken", "BTC-USD")
    (request,) = kraken.spot_requests("15m")(instrument, Window(NOON, NOON + HOUR))
    assert request.params == {"pair": "XXBTZUSD", "interval": 15, "since": EPOCH_S - 900}


def test_kraken_funding_when_settled_then_the_relative_rate_is_taken() -> None:
    row = {"timestamp": "2026-03-10T12:00:00Z", "fundingRate": 0.9, "relativeFundingRate": "0.0000125"}
    record = _one(kraken.parse_funding, {"rates": [row]}, KRAKEN_PERP)
    assert (record.values["rate"], record.values["interval_hours"]) == (Decimal("0.0000125"), Decimal(1))


def test_kraken_funding_when_older_than_the_hourly_method_then_rejected_not_guessed() -> None:
    row = {"timestamp": "2022-03-22T16:00:00.000Z", "fundingRate": "0.8", "relativeFundingRate": "0.00002"}
    assert "before 2022-09-29" in _refused(kraken.parse_funding, {"rates": [row]}, KRAKEN_PERP).reason


def test_kraken_prediction_when_absolute_then_divided_by_the_index_and_due_at_the_next_hour() -> None:
    ticker = {"symbol": "pf_xbtusd", "fundingRatePrediction": 0.5, "indexPrice": 50000, "markPrice": 99999}
    body = {"result": "success", "ticker": ticker, "serverTime": "2026-03-10T12:59:59.999Z"}
    record = _one(kraken.parse_funding, body, KRAKEN_PERP)
    assert record.values["rate"] == Decimal("0.00001")
    assert record.event_at == NOON + HOUR


def test_kraken_tickers_when_all_are_listed_then_only_the_one_that_was_asked() -> None:
    tickers = [
        {"symbol": "PF_ETHUSD", "openInterest": 7, "markPrice": 2},
        {"symbol": "PF_XBTUSD", "openInterest": "1.25", "markPrice": 4},
        {"symbol": "in_xbtusd", "last": 3},
    ]
    body = {"result": "success", "tickers": tickers, "serverTime": "2026-03-10T12:00:00Z"}
    record = _one(kraken.parse_open_interest, body, replace(KRAKEN_PERP, dataset="open_interest"))
    assert record.values["open_interest_base"] == Decimal("1.25")
    assert record.values["open_interest_usd"] == Decimal(5)


def test_kraken_tickers_when_ours_is_missing_then_refused() -> None:
    with pytest.raises(ContractViolation, match="no ticker of PF_XBTUSD"):
        _parse(kraken.parse_funding, {"tickers": [{"symbol": "PF_ETHUSD"}], "serverTime": "x"}, KRAKEN_PERP)


# ---- Coinbase


def test_coinbase_candles_when_the_venue_refuses_then_its_words_are_in_the_message() -> None:
    request = Request("coinbase", "ohlcv", "", symbol="BTC-USD", timeframe="1m")
    body = {"error": "INVALID_ARGUMENT", "message": "number of candles requested should be less than 350"}
    with pytest.raises(ContractViolation, match="should be less than 350"):
        _parse(coinbase.parse_ohlcv, body, request)


def test_coinbase_candles_when_of_another_length_then_rejected() -> None:
    request = Request("coinbase", "ohlcv", "", symbol="BTC-USD", timeframe="1h")
    candle = {"start": str(EPOCH_S + 60), "low": "1", "high": "2", "open": "1", "close": "2", "volume": "1"}
    assert "not a multiple of 1:00:00" in _refused(coinbase.parse_ohlcv, {"candles": [candle]}, request).reason


def test_coinbase_candles_when_no_timeframe_is_known_then_the_user_is_asked() -> None:
    with pytest.raises(UserError, match="--timeframe"):
        _parse(coinbase.parse_ohlcv, {"candles": []}, Request("coinbase", "ohlcv", "", symbol="BTC-USD"))


def test_coinbase_book_when_levels_are_unsorted_then_best_comes_first() -> None:
    book = {
        "product_id": "BTC-USD",
        "bids": [{"price": "1.1", "size": "1"}, {"price": "1.20", "size": "2"}],
        "asks": [{"price": "1.5", "size": "1"}, {"price": "1.4", "size": "0.30"}],
        "time": "2026-03-10T12:00:00Z",
    }
    record = _one(coinbase.parse_order_book, {"pricebook": book}, Request("coinbase", "order_books", ""))
    assert record.values["bids"] == [["1.20", "2"], ["1.1", "1"]]
    assert record.values["asks"] == [["1.4", "0.30"], ["1.5", "1"]]


@pytest.mark.parametrize(("field", "value"), [("time", "0001-01-01T00:00:00Z"), ("product_id", "../../BTC")])
def test_coinbase_book_when_time_or_name_is_nonsense_then_rejected(field: str, value: str) -> None:
    book = {"product_id": "BTC-USD", "bids": [], "asks": [], "time": "2026-03-10T12:00:00Z", field: value}
    assert _refused(coinbase.parse_order_book, {"pricebook": book}, Request("coinbase", "order_books", ""))


# ---- Deribit


def _chart(**columns: Any) -> dict[str, Any]:
    names = ("open", "high", "low", "close", "volume", "cost")
    return {"result": {"status": "ok", "ticks": [EPOCH_S * 1000], **{name: [1] for name in names}, **columns}}


def test_deribit_bars_when_columns_differ_in_length_then_refused() -> None:
    with pytest.raises(ContractViolation, match="unequal length"):
        _parse(deribit.parse_ohlcv, _chart(close=[1, 2]), DERIBIT_PERP)


def test_deribit_bars_when_there_are_none_then_nothing() -> None:
    assert _parse(deribit.parse_ohlcv, {"result": {"status": "no_data", "ticks": []}}, DERIBIT_PERP) == []


def test_deribit_bars_when_volume_is_a_long_float_then_every_digit_is_kept() -> None:
    body = json.dumps(_chart(volume=["V"])).replace('"V"', "3.6680847969999992").encode()
    (bar,) = parse_payload(deribit.parse_ohlcv, body, DERIBIT_PERP)
    assert isinstance(bar, Record)
    assert str(bar.values["volume_base"]) == "3.6680847969999992"


@pytest.mark.parametrize(
    ("name", "strike", "expiry"),
    [
        ("BTC-27MAR26-100000-C", Decimal(100000), datetime(2026, 3, 27, 8, tzinfo=UTC)),
        ("BTC-3APR26-62000-P", Decimal(62000), datetime(2026, 4, 3, 8, tzinfo=UTC)),
    ],
)
def test_deribit_options_when_inverse_then_the_canonical_name_is_deribits(
    name: str, strike: Decimal, expiry: datetime
) -> None:
    row = {"instrument_name": name, "creation_timestamp": EPOCH_S * 1000, "mark_iv": 51.5}
    quote = _one(deribit.parse_option_quotes, {"result": [row]}, DERIBIT_OPTIONS)
    assert quote.symbol == name
    assert (quote.values["strike"], quote.values["expires_at"]) == (strike, expiry)
    assert quote.values["mark_iv_pct"] == Decimal("51.5")
    assert quote.values["bid_price"] is None


def test_deribit_options_when_linear_then_left_out() -> None:
    row = {"instrument_name": "XRP_USDC-27MAR26-0d5-C", "creation_timestamp": EPOCH_S * 1000}
    assert _parse(deribit.parse_option_quotes, {"result": [row]}, DERIBIT_OPTIONS) == []


@pytest.mark.parametrize(
    "name", ["BTC-31FEB26-1000-C", "BTC-27MRZ26-1000-C", "BTC-27MAR26-0-C", "BTC-27MAR26-1e9-C", "BTC-27MAR26-1000-X"]
)
def test_deribit_options_when_the_name_is_wrong_then_rejected(name: str) -> None:
    row = {"instrument_name": name, "creation_timestamp": EPOCH_S * 1000}
    assert _refused(deribit.parse_option_quotes, {"result": [row]}, DERIBIT_OPTIONS).field in (
        "instrument_name",
        "strike",
    )


@pytest.mark.parametrize(("continuation", "complete"), [(None, True), (-HOUR, True), (0 * HOUR, False), (HOUR, False)])
def test_deribit_volatility_when_the_page_is_cut_short_then_it_says_so(
    continuation: timedelta | None, complete: bool
) -> None:
    more = None if continuation is None else int((NOON + continuation).timestamp()) * 1000
    body = {"result": {"data": [[(EPOCH_S + 7200) * 1000, 50, 51, 49, 50.5]], "continuation": more}}
    outcomes = _parse(deribit.parse_volatility_index, body, DVOL)
    assert isinstance(outcomes[0], Record)
    assert [outcome.field for outcome in outcomes[1:] if isinstance(outcome, Rejected)] == (
        [] if complete else ["continuation"]
    )


def test_deribit_open_interest_when_inverse_then_dollars_are_divided_by_the_mark() -> None:
    row = {"instrument_name": "BTC-PERPETUAL", "open_interest": 500, "mark_price": 4, "timestamp": EPOCH_S * 1000}
    record = _one(deribit.parse_open_interest, {"result": row}, replace(DERIBIT_PERP, dataset="open_interest"))
    assert record.values["open_interest_base"] == Decimal(125)
    assert record.values["open_interest_usd"] == Decimal(500)


def test_deribit_instruments_when_combinations_are_listed_then_left_out() -> None:
    row = {"kind": "future_combo", "instrument_name": "BTC-FS-27MAR26_PERP", "base_currency": "BTC"}
    assert _parse(deribit.parse_instruments, {"result": [row], "usOut": 1}, Request("deribit", "instruments", "")) == []


def test_deribit_when_it_answers_an_error_then_its_words_are_in_the_message() -> None:
    body = {"jsonrpc": "2.0", "error": {"message": "too_many_requests", "code": 10028}}
    with pytest.raises(ContractViolation, match="too_many_requests"):
        _parse(deribit.parse_ohlcv, body, DERIBIT_PERP)
