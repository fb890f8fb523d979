"""Bybit v5 and the retired v2 by their documentation."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Funding,
    Heartbeat,
    Liquidation,
    MalformedFrame,
    OpenInterest,
    Trade,
    Unknown,
)
from coinswarm.ticks.protocol import Proof, Step
from coinswarm.ticks.venues import bybit, legacy_bybit

pytestmark = pytest.mark.unit

(SPOT,) = bybit.connections("spot", list(INSTRUMENTS))
(LINEAR,) = bybit.connections("linear", list(INSTRUMENTS))
(LEGACY,) = legacy_bybit.connections("linear", list(INSTRUMENTS))

TRADE = {
    "T": 1672304486865,
    "s": "BTCUSDT",
    "S": "Buy",
    "v": "0.001",
    "p": "16578.50",
    "L": "PlusTick",
    "i": "20f43950-d8dd-5b31-9112-a178eb6023af",
    "BT": False,
    "seq": 1783284617,
}
BOOK = {
    "s": "BTCUSDT",
    "b": [["16493.50", "0.006"], ["16493.00", "0.100"]],
    "a": [["16611.00", "0"]],
    "u": 18521288,
    "seq": 7961638724,
}
TICKER = {
    "symbol": "BTCUSDT",
    "tickDirection": "PlusTick",
    "lastPrice": "17216.00",
    "markPrice": "17217.33",
    "indexPrice": "17227.36",
    "openInterest": "68744.761",
    "openInterestValue": "1183601235.91",
    "singleOpenInterest": "34372.381",
    "nextFundingTime": "1673280000000",
    "fundingRate": "-0.000212",
    "fundingIntervalHour": "8",
}
LIQUIDATION = {"T": 1739502303204, "s": "BTCUSDT", "S": "Sell", "v": "0.2", "p": "16000.5"}


def push(topic: str, data: object, **more: object) -> bytes:
    frame = {"topic": f"{topic}.BTCUSDT", "type": "snapshot", "ts": 1672304486868, "data": data} | more
    return json.dumps(frame, separators=(",", ":")).encode()


def late(frame: bytes) -> bytes:
    """The same message with its topic at the end, and spaces: the short way does not see it."""
    message = json.loads(frame)
    topic = message.pop("topic")
    return json.dumps(message | {"topic": topic}).encode()


def test_trade_has_an_id_but_no_number_and_symbols_are_those_of_the_market() -> None:
    frame = push("publicTrade", [TRADE, TRADE | {"S": "Sell", "i": "2"}])
    expected = [
        Trade("BTC-USDT-PERP", "16578.50", "0.001", "buy", 1672304486865, TRADE["i"]),
        Trade("BTC-USDT-PERP", "16578.50", "0.001", "sell", 1672304486865, "2"),
    ]
    assert list(LINEAR.decode(frame)) == list(LINEAR.decode(late(frame))) == expected
    assert [event.symbol for event in SPOT.decode(frame) if isinstance(event, Trade)] == ["BTC-USDT", "BTC-USDT"]


def test_book_has_the_time_of_the_engine_and_follows_the_number_before() -> None:
    frame = push("orderbook.50", BOOK, type="delta", cts=1672304486860)
    expected = [
        BookUpdate(
            "BTC-USDT",
            False,
            [("16493.50", "0.006"), ("16493.00", "0.100")],
            [("16611.00", "0")],
            1672304486860,
            18521288,
            18521288,
            18521287,
        )
    ]
    assert list(SPOT.decode(frame)) == list(SPOT.decode(late(frame))) == expected
    (without,) = SPOT.decode(push("orderbook.50", BOOK))
    assert isinstance(without, BookUpdate)
    assert (without.snapshot, without.ts) == (True, 1672304486868)


def step(rule: object, number: int, kind: str = "delta") -> Step:
    (update,) = LINEAR.decode(push("orderbook.50", BOOK | {"u": number}, type=kind))
    assert isinstance(update, BookUpdate)
    return rule.check(update)  # type: ignore[attr-defined,no-any-return]


def test_rule_takes_the_next_number_and_breaks_once_on_a_hole() -> None:
    rule = LINEAR.book_rule("BTC-USDT-PERP")
    assert step(rule, 10) is Step.DROP
    assert step(rule, 11, "snapshot") is Step.APPLY
    assert step(rule, 12) is Step.APPLY
    assert step(rule, 12) is Step.DROP
    assert step(rule, 14) is Step.RESYNC
    assert step(rule, 15) is Step.DROP
    assert step(rule, 20, "snapshot") is Step.APPLY
    assert step(rule, 21) is Step.APPLY


def test_rule_when_the_service_restarts_takes_the_first_number_as_a_snapshot() -> None:
    rule = LINEAR.book_rule("BTC-USDT-PERP")
    step(rule, 11, "snapshot")
    assert step(rule, 1) is Step.APPLY
    assert step(rule, 2) is Step.APPLY
    (update,) = LINEAR.decode(push("orderbook.50", BOOK | {"u": 1}, type="delta"))
    assert isinstance(update, BookUpdate)
    assert update.snapshot


def test_ticker_is_the_state_with_the_open_interest_of_one_side() -> None:
    assert list(LINEAR.decode(push("tickers", TICKER))) == [
        Funding("BTC-USDT-PERP", 1672304486868, "-0.000212", 1673280000000, 8, "17217.33", "17227.36"),
        OpenInterest("BTC-USDT-PERP", 1672304486868, "34372.381"),
    ]


@pytest.mark.parametrize(
    ("changed", "events"),
    [
        ({"markPrice": "17218"}, [Funding("BTC-USDT-PERP", 1672304486868, mark="17218")]),
        ({"fundingRate": "0.0001"}, [Funding("BTC-USDT-PERP", 1672304486868, "0.0001")]),
        ({"singleOpenInterest": "1.5"}, [OpenInterest("BTC-USDT-PERP", 1672304486868, "1.5")]),
        ({"bid1Price": "17218", "openInterest": "3"}, []),
        ({"fundingRate": "", "nextFundingTime": "", "fundingIntervalHour": ""}, []),
        (
            {"fundingRate": "", "nextFundingTime": "0", "indexPrice": "7"},
            [Funding("BTC-USDT-PERP", 1672304486868, index="7")],
        ),
    ],
)
def test_delta_says_only_what_has_changed(changed: dict[str, str], events: list[object]) -> None:
    assert list(LINEAR.decode(push("tickers", {"symbol": "BTCUSDT"} | changed, type="delta"))) == events


@pytest.mark.parametrize(("side", "position"), [("Buy", "long"), ("Sell", "short")])
def test_liquidation_names_the_position_at_its_bankruptcy_price(side: str, position: str) -> None:
    assert list(LINEAR.decode(push("allLiquidation", [LIQUIDATION | {"S": side}]))) == [
        Liquidation("BTC-USDT-PERP", position, "16000.5", "0.2", 1739502303204, "bankruptcy", sampled=False)
    ]


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        (b'{"success":true,"ret_msg":"pong","conn_id":"0970e817","req_id":"","op":"ping"}', [Heartbeat()]),
        (b'{"op":"pong","args":["1672916271846"],"conn_id":"0970e817"}', [Heartbeat()]),
        (b'{"success":true,"ret_msg":"","conn_id":"cejreaspqfh","op":"subscribe"}', [Ack(True, "subscribe")]),
        (
            b'{"success":false,"ret_msg":"error:handler not found,topic:x","conn_id":"c","op":"subscribe"}',
            [Ack(False, "subscribe error:handler not found,topic:x")],
        ),
        (push("kline.1", []), [Unknown("kline")]),
        (push("tickers", TICKER | {"markPriceIv": "0.5"}), [Unknown("tickers of an option")]),
        (push("tickers", TICKER | {"symbol": "XRPUSDT"}), [Unknown("symbol XRPUSDT")]),
        (push("publicTrade", [TRADE | {"s": "XRPUSDT"}]), [Unknown("symbol XRPUSDT")]),
        (push("orderbook.50", BOOK | {"s": "XRPUSDT"}), [Unknown("symbol XRPUSDT")]),
        (push("allLiquidation", [LIQUIDATION | {"s": "XRPUSDT"}]), [Unknown("symbol XRPUSDT")]),
        (b"{}", [Unknown("without topic and op")]),
    ],
)
def test_other_messages_are_known_or_named(frame: bytes, events: list[object]) -> None:
    assert list(LINEAR.decode(frame)) == events


@pytest.mark.parametrize(
    "frame",
    [
        b'{"topic":"kline.1.BTCUSDT"}',
        b'{"topic":"publicTrade.BTCUSDT"}',
        push("publicTrade", TRADE),
        push("publicTrade", [TRADE | {"S": "buy"}]),
        push("publicTrade", [TRADE | {"p": "0.00"}]),
        push("publicTrade", [TRADE | {"p": 16578.5}]),
        push("publicTrade", [TRADE | {"v": "-1"}]),
        push("publicTrade", [TRADE | {"v": "inf"}]),
        push("publicTrade", [TRADE | {"T": "1672304486865"}]),
        push("publicTrade", [TRADE | {"T": -1}]),
        push("publicTrade", [TRADE | {"i": ""}]),
        push("publicTrade", [TRADE, TRADE | {"i": "x" * 81}]),
        push("orderbook.50", BOOK, type="partial"),
        push("orderbook.50", BOOK | {"u": "1"}),
        push("orderbook.50", BOOK | {"u": -1}),
        push("orderbook.50", BOOK | {"b": [["1"]]}),
        push("orderbook.50", BOOK | {"b": [["1", "1", "1"]]}),
        push("orderbook.50", BOOK | {"b": [["", "1"]]}),
        push("orderbook.50", BOOK | {"a": [["1", "x"]]}),
        push("orderbook.50", BOOK | {"a": [["1", "9" * 41]]}),
        push("tickers", [TICKER]),
        push("tickers", TICKER | {"markPrice": "-1"}),
        push("tickers", TICKER | {"fundingRate": "high"}),
        push("tickers", TICKER | {"nextFundingTime": "soon"}),
        push("tickers", TICKER | {"fundingIntervalHour": "8h"}),
        push("tickers", TICKER | {"singleOpenInterest": "1e999"}),
        push("allLiquidation", [LIQUIDATION | {"S": "Long"}]),
        push("allLiquidation", [LIQUIDATION | {"p": "0"}]),
    ],
)
def test_malformed_message_of_our_topics_is_refused(frame: bytes) -> None:
    for spelling in (frame, late(frame)):
        with pytest.raises(MalformedFrame, match=r"\w"):
            LINEAR.decode(spelling)


def test_requests_have_at_most_ten_topics() -> None:
    (spot,) = (json.loads(frame) for frame in SPOT.subscribe())
    assert spot == {
        "op": "subscribe",
        "args": ["publicTrade.BTCUSDT", "orderbook.50.BTCUSDT", "publicTrade.ETHUSDT", "orderbook.50.ETHUSDT"],
    }
    (linear,) = (json.loads(frame)["args"] for frame in LINEAR.subscribe())
    assert {topic.partition(".")[0] for topic in linear} == {"publicTrade", "orderbook", "tickers", "allLiquidation"}
    listed = [one for one in INSTRUMENTS if one.source == "bybit" and one.market == "linear"]
    many = [replace(one, venue_symbol=f"X{n}", symbol=f"X{n}-USDT-PERP") for n, one in enumerate(listed * 3)]
    (venue,) = bybit.connections("linear", many)
    assert [len(json.loads(frame)["args"]) for frame in venue.subscribe()] == [10, 10, 4]


def test_connections_are_kept_alive_and_only_books_can_be_proven() -> None:
    assert SPOT.ping is not None
    assert (SPOT.ping.frame, SPOT.ping.seconds) == (b'{"op":"ping"}', 20.0)
    assert {stream.channel for stream in SPOT.streams} == {Channel.TRADES, Channel.BOOK}
    assert {stream.channel for stream in LINEAR.streams if stream.proof is not Proof.NONE} == {Channel.BOOK}
    with pytest.raises(ValueError, match="no market 'inverse'"):
        bybit.connections("inverse", list(INSTRUMENTS))


def test_fresh_snapshot_is_asked_for_by_leaving_the_book_and_coming_back() -> None:
    book = next(stream for stream in LINEAR.streams if stream.channel == Channel.BOOK)
    assert [json.loads(frame) for frame in LINEAR.resubscribe(book)] == [
        {"op": op, "args": ["orderbook.50.BTCUSDT"]} for op in ("unsubscribe", "subscribe")
    ]


# The retired v2

OLD_TRADE = {
    "symbol": "BTCUSD",
    "side": "Sell",
    "size": 300,
    "price": 40000.5,
    "trade_time_ms": 1616304614117,
    "trade_id": "2cbeff0d",
    "cross_seq": 233452601,
}
OLD = {"cross_seq": 11518, "timestamp_e6": 1555647164875373}


def old(topic: str, data: object, **more: object) -> bytes:
    return json.dumps({"topic": topic, "data": data} | more).encode()


def old_level(price: str, side: str, size: object = None) -> dict[str, object]:
    level: dict[str, object] = {"price": price, "symbol": "BTCUSD", "id": 29995000, "side": side}
    return level if size is None else level | {"size": size}


def test_old_trade_of_dollars_becomes_coins_and_numbers_may_be_text() -> None:
    # 300 / 40000.5 = 0.0074999062511718…
    expected = [Trade("BTC-USD-PERP", "40000.5", "0.007499906251", "sell", 1616304614117, "2cbeff0d", native="300")]
    assert list(LEGACY.decode(old("trade.BTCUSD", [OLD_TRADE]))) == expected
    texts = OLD_TRADE | {"size": "300", "price": "40000.5", "trade_time_ms": "1616304614117"}
    assert list(LEGACY.decode(old("trade.BTCUSD", [texts]))) == expected
    linear = OLD_TRADE | {"symbol": "BTCUSDT", "size": 1e-05, "price": "40000.50"}
    assert list(LEGACY.decode(old("trade.BTCUSDT", [linear]))) == [
        Trade("BTC-USDT-PERP", "40000.50", "0.00001", "sell", 1616304614117, "2cbeff0d")
    ]


@pytest.mark.parametrize("numbers", [OLD, {name: str(number) for name, number in OLD.items()}])
@pytest.mark.parametrize("one_down", [False, True])
def test_old_snapshot_is_a_list_or_holds_one(numbers: dict[str, object], one_down: bool) -> None:
    levels = [old_level("2999.00", "Buy", 8), old_level("3001.00", "Sell", "10")]
    data = {"order_book": levels} if one_down else levels
    assert list(LEGACY.decode(old("orderBookL2_25.BTCUSD", data, type="snapshot", **numbers))) == [
        BookUpdate("BTC-USD-PERP", True, [("2999.00", "8")], [("3001.00", "10")], 1555647164875, 11518, 11518)
    ]


def test_old_delta_deletes_before_it_inserts() -> None:
    data = {
        "insert": [old_level("2999.00", "Buy", 7)],
        "update": [old_level("3000.00", "Sell", 4.5)],
        "delete": [old_level("2999.00", "Buy"), old_level("3002.00", "Sell", 0)],
        "transactTimeE6": 0,
    }
    (update,) = LEGACY.decode(old("orderBookL2_25.BTCUSD", data, type="delta", **OLD))
    assert isinstance(update, BookUpdate)
    assert (update.snapshot, update.bids, update.asks) == (
        False,
        [("2999.00", "0"), ("2999.00", "7")],
        [("3002.00", "0"), ("3000.00", "4.5")],
    )


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        (b'{"success":true,"ret_msg":"pong","conn_id":"c","request":{"op":"ping","args":null}}', [Heartbeat()]),
        (
            b'{"success":true,"ret_msg":"","conn_id":"c","request":{"op":"subscribe","args":["trade.BTCUSD"]}}',
            [Ack(True, "subscribe trade.BTCUSD")],
        ),
        (b'{"success":false,"ret_msg":"unknown topic"}', [Ack(False, "unknown topic")]),
        (old("instrument_info.100ms.BTCUSD", {}), [Unknown("instrument_info")]),
        (old("trade.BTCUSD", [OLD_TRADE | {"symbol": "XRPUSD"}]), [Unknown("symbol XRPUSD")]),
        (old("orderBookL2_25.XRPUSD", [], type="snapshot", **OLD), [Unknown("symbol XRPUSD")]),
        (b"{}", [Unknown("without topic")]),
    ],
)
def test_other_old_messages_are_known_or_named(frame: bytes, events: list[object]) -> None:
    assert list(LEGACY.decode(frame)) == events


@pytest.mark.parametrize(
    "frame",
    [
        b'{"topic":"trade.BTCUSD"}',
        old("trade.BTCUSD", OLD_TRADE),
        old("trade.BTCUSD", [OLD_TRADE | {"price": None}]),
        old("trade.BTCUSD", [OLD_TRADE | {"price": "40000\u0661"}]),
        old("trade.BTCUSD", [OLD_TRADE | {"price": [1]}]),
        old("trade.BTCUSD", [OLD_TRADE | {"price": '"'}]),
        old("trade.BTCUSD", [OLD_TRADE | {"size": 0}]),
        old("trade.BTCUSD", [OLD_TRADE | {"side": "sell"}]),
        old("trade.BTCUSD", [OLD_TRADE | {"trade_time_ms": 1.5}]),
        '{"topic":"trade.BTCUSD","data":[{"symbol":"BTCUSD","side":"Buy","price":"é","size":1}]}'.encode(),
        old("orderBookL2_25.BTCUSD", [], type="partial", **OLD),
        old("orderBookL2_25.BTCUSD", [], type="snapshot"),
        old("orderBookL2_25.BTCUSD", None, type="snapshot", **OLD),
        old("orderBookL2_25.BTCUSD", [old_level("1", "Buy")], type="snapshot", **OLD),
        old("orderBookL2_25.BTCUSD", {"update": [old_level("1", "Buy")]}, type="delta", **OLD),
        old("orderBookL2_25.BTCUSD", {"insert": [old_level("1", "Bid", 1)]}, type="delta", **OLD),
        old("orderBookL2_25.BTCUSD", {"insert": [{"id": 1, "side": "Buy", "size": 1}]}, type="delta", **OLD),
    ],
)
def test_malformed_old_message_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame, match=r"\w"):
        LEGACY.decode(frame)
