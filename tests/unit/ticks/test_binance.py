"""Binance, spot and futures, by its documentation."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Event,
    Funding,
    Goodbye,
    Liquidation,
    MalformedFrame,
    TopOfBook,
    Trade,
    Unknown,
)
from coinswarm.ticks.protocol import Proof, Step
from coinswarm.ticks.venues import binance

pytestmark = pytest.mark.unit

(SPOT,) = binance.connections("spot", list(INSTRUMENTS))
PUBLIC, MARKET = binance.connections("binance_usdm", list(INSTRUMENTS))
(COINM,) = binance.connections("coinm", list(INSTRUMENTS))

TRADE: dict[str, Any] = {
    "e": "trade",
    "E": 1672515782136,
    "s": "BTCUSDT",
    "t": 12345,
    "p": "16500.10000000",
    "q": "0.02000000",
    "T": 1672515782135,
    "m": True,
    "M": True,
}
AGGREGATE: dict[str, Any] = {
    "e": "aggTrade",
    "E": 1770000000123,
    "s": "BTCUSDT",
    "a": 5933014,
    "p": "70000.1",
    "q": "0.100",
    "nq": "0.100",
    "f": 100,
    "l": 105,
    "T": 1770000000120,
    "m": False,
    "st": 1,
}
DEPTH: dict[str, Any] = {
    "e": "depthUpdate",
    "E": 1672515782136,
    "s": "BTCUSDT",
    "U": 157,
    "u": 160,
    "b": [["16500.10", "10"]],
    "a": [["16500.20", "0.00000000"], ["16501", "100"]],
}
TICKER: dict[str, Any] = {
    "u": 400900217,
    "s": "BTCUSDT",
    "b": "16500.10",
    "B": "31.21000000",
    "a": "16500.20",
    "A": "40.66000000",
}
MARK: dict[str, Any] = {
    "e": "markPriceUpdate",
    "E": 1562305380000,
    "s": "BTCUSDT",
    "p": "11794.15000000",
    "ap": "11794.15000000",
    "i": "11784.62659091",
    "P": "11784.25641265",
    "r": "-0.00038167",
    "T": 1562306400000,
}
ORDER: dict[str, Any] = {
    "s": "BTCUSDT",
    "S": "SELL",
    "o": "LIMIT",
    "f": "IOC",
    "q": "0.014",
    "p": "9910",
    "ap": "9911.5",
    "X": "FILLED",
    "l": "0.004",
    "z": "0.013",
    "T": 1568014460893,
}


def push(stream: str, data: object) -> bytes:
    """As Binance sends it: without spaces, the stream's name first."""
    return json.dumps({"stream": stream, "data": data}, separators=(",", ":")).encode()


def only(events: object) -> Event:
    (event,) = events  # type: ignore[misc]
    return event


def test_spot_trade_is_numbered_and_its_taker_is_the_one_who_did_not_make() -> None:
    sold = Trade("BTC-USDT", "16500.10000000", "0.02000000", "sell", 1672515782135, "12345", 12345, 12345)
    assert only(SPOT.decode(push("btcusdt@trade", TRADE))) == sold
    bought = only(SPOT.decode(push("btcusdt@trade", TRADE | {"m": False, "t": 12346})))
    assert (bought.side, bought.id) == ("buy", "12346")  # type: ignore[union-attr]


def test_same_frame_gives_the_same_events_the_first_time_and_later() -> None:
    (fresh,) = binance.connections("spot", list(INSTRUMENTS))
    for stream, data in (("btcusdt@trade", TRADE), ("btcusdt@depth@100ms", DEPTH), ("btcusdt@bookTicker", TICKER)):
        frame = push(stream, data)
        assert fresh.decode(frame) == fresh.decode(frame) == fresh.decode(frame)


def test_frame_written_otherwise_is_read_as_well() -> None:
    usual = SPOT.decode(push("btcusdt@trade", TRADE))
    turned = json.dumps({"data": dict(reversed(TRADE.items())), "extra": [1], "stream": "btcusdt@trade"}, indent=2)
    assert list(SPOT.decode(turned.encode())) == list(usual)


def test_aggregate_is_numbered_by_itself_since_futures_leave_numbers_of_trades_out() -> None:
    expected = Trade("BTC-USDT-PERP", "70000.1", "0.100", "buy", 1770000000120, "5933014", 5933014, 5933014)
    assert only(MARKET.decode(push("btcusdt@aggTrade", AGGREGATE))) == expected


def test_size_of_a_contract_in_dollars_is_turned_into_base_units() -> None:
    trade = only(COINM.decode(push("btcusd_perp@aggTrade", AGGREGATE | {"s": "BTCUSD_PERP", "p": "50000", "q": "3"})))
    assert trade == Trade("BTC-USD-PERP", "50000", "0.006", "buy", 1770000000120, "5933014", 5933014, 5933014, "3")


def test_depth_tells_its_numbers_and_the_time_of_the_match_where_it_has_one() -> None:
    levels = [("16500.10", "10")], [("16500.20", "0.00000000"), ("16501", "100")]
    assert only(SPOT.decode(push("btcusdt@depth@100ms", DEPTH))) == BookUpdate(
        "BTC-USDT", False, *levels, 1672515782136, 157, 160
    )
    futures = DEPTH | {"T": 1672515782130, "pu": 149}
    assert only(PUBLIC.decode(push("btcusdt@depth@100ms", futures))) == BookUpdate(
        "BTC-USDT-PERP", False, *levels, 1672515782130, 157, 160, 149
    )


@pytest.mark.parametrize("speed", ["", "@100ms", "@0ms", "@500ms"])
def test_diff_depth_of_any_speed_is_a_book_update(speed: str) -> None:
    assert isinstance(only(SPOT.decode(push(f"btcusdt@depth{speed}", DEPTH))), BookUpdate)


@pytest.mark.parametrize("stream", ["btcusdt@depth5", "btcusdt@depth20@100ms"])
def test_partial_depth_looks_like_diff_depth_and_is_not_taken_for_it(stream: str) -> None:
    assert only(PUBLIC.decode(push(stream, DEPTH))) == Unknown(stream.partition("@")[2])


def test_best_prices_have_no_time_on_spot() -> None:
    expected = TopOfBook("BTC-USDT", "16500.10", "31.21000000", "16500.20", "40.66000000", 0, 400900217)
    assert only(SPOT.decode(push("btcusdt@bookTicker", TICKER))) == expected
    futures = only(PUBLIC.decode(push("btcusdt@bookTicker", TICKER | {"T": 1589437530011, "E": 1589437530012})))
    assert futures.ts == 1589437530011  # type: ignore[union-attr]


@pytest.mark.parametrize("side", ["b", "a"])
def test_best_prices_of_a_market_with_one_side_are_none(side: str) -> None:
    event = only(SPOT.decode(push("btcusdt@bookTicker", TICKER | {side: "0.00000000"})))
    assert event == Unknown("bookTicker of one side")


def test_mark_price_brings_funding() -> None:
    expected = Funding("BTC-USDT-PERP", 1562305380000, "-0.00038167", 1562306400000, -1, "11794.15000000")
    assert only(MARKET.decode(push("btcusdt@markPrice@1s", {**MARK, "i": ""}))) == expected
    frame = push("!markPrice@arr@1s", [MARK, MARK | {"s": "ETHUSDT"}, MARK | {"s": "DOGEUSDT"}])
    bitcoin, ether, other = MARKET.decode(frame)
    assert (bitcoin.index, ether.symbol) == ("11784.62659091", "ETH-USDT-PERP")  # type: ignore[union-attr]
    assert other == Unknown("symbol DOGEUSDT")


def test_dated_future_has_a_mark_price_without_funding() -> None:
    (anything,) = binance.connections("coinm", None)
    event = only(anything.decode(push("btcusd_210625@markPrice", MARK | {"s": "BTCUSD_210625", "r": "", "T": 0})))
    assert event == Funding("BTCUSD_210625", 1562305380000, "", -1, -1, "11794.15000000", "11784.62659091")


def test_forced_order_tells_the_position_and_what_was_filled_at_its_average() -> None:
    event = only(MARKET.decode(push("btcusdt@forceOrder", {"e": "forceOrder", "E": 1, "o": ORDER})))
    assert event == Liquidation("BTC-USDT-PERP", "long", "9911.5", "0.013", 1568014460893, "average", True)
    short = only(MARKET.decode(push("btcusdt@forceOrder", {"e": "forceOrder", "E": 1, "o": ORDER | {"S": "BUY"}})))
    assert short.side == "short"  # type: ignore[union-attr]


def test_forced_order_without_a_fill_is_told_as_ordered() -> None:
    order = ORDER | {"X": "NEW", "ap": "0", "z": "0", "l": "0"}
    event = only(MARKET.decode(push("btcusdt@forceOrder", {"e": "forceOrder", "E": 1, "o": order})))
    assert event == Liquidation("BTC-USDT-PERP", "long", "9910", "0.014", 1568014460893, "order", True)


def test_forced_orders_of_coin_margined_contracts_on_the_same_stream_are_not_ours() -> None:
    order = {"e": "forceOrder", "E": 1, "st": 2, "o": ORDER | {"s": "BTCUSD_PERP"}}
    assert only(MARKET.decode(push("!forceOrder@arr", order))) == Unknown("symbol BTCUSD_PERP")


@pytest.mark.parametrize(
    "message",
    [
        {"e": "serverShutdown", "E": 1770123456789},
        {"event": {"e": "serverShutdown", "E": 1770123456789}},
        {"stream": "", "data": {"e": "serverShutdown", "E": 1770123456789}},
        {"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1770123456789}},
    ],
)
def test_shutdown_is_told_wherever_it_stands(message: object) -> None:
    assert only(SPOT.decode(json.dumps(message).encode())) == Goodbye("serverShutdown")


def test_answers_are_accepted_or_say_why_not() -> None:
    assert only(SPOT.decode(b'{"result":null,"id":1}')) == Ack(True, "null")
    refused = Ack(False, "2 Invalid request: unknown stream")
    assert only(SPOT.decode(b'{"code":2,"msg":"Invalid request: unknown stream"}')) == refused
    nested = b'{"error":{"code":2,"msg":"Invalid request: unknown stream"},"id":1}'
    assert only(SPOT.decode(nested)) == refused


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (push("btcusdt@kline_1m", {"e": "kline", "k": {"s": "BTCUSDT"}}), "kline_1m"),
        (push("!ticker@arr", [{"e": "24hrTicker"}]), "ticker"),
        (push("btcusdt@trade", TRADE | {"s": "DOGEUSDT"}), "symbol DOGEUSDT"),
        (push("btcusdt@aggTrade", AGGREGATE | {"s": "DOGEUSDT"}), "symbol DOGEUSDT"),
        (push("btcusdt@depth", DEPTH | {"s": "DOGEUSDT"}), "symbol DOGEUSDT"),
        (push("btcusdt@bookTicker", TICKER | {"s": "DOGEUSDT"}), "symbol DOGEUSDT"),
        (b'{"lastUpdateId":1,"bids":[],"asks":[]}', "depth snapshot"),
        (b'{"e":"somethingNew"}', "somethingNew"),
        (b"{}", "without stream"),
    ],
)
def test_what_is_not_ours_is_named(frame: bytes, kind: str) -> None:
    assert only(SPOT.decode(frame)) == Unknown(kind)


BAD_NUMBERS = ["0", "-1", "NaN", "Infinity", "1_0", " 1", "1e999", "0x10", "\u0661", "1" * 41, "", ".", "1.2.3"]


@pytest.mark.parametrize("number", [*BAD_NUMBERS, 1, None, True, ["1"]])
@pytest.mark.parametrize("name", ["p", "q"])
def test_trade_with_a_price_or_size_that_is_none_is_malformed(name: str, number: object) -> None:
    for venue, stream, message in ((SPOT, "btcusdt@trade", TRADE), (MARKET, "btcusdt@aggTrade", AGGREGATE)):
        for _ in range(2):  # what was refused once is refused again
            with pytest.raises(MalformedFrame):
                venue.decode(push(stream, message | {name: number}))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("btcusdt@trade", TRADE | {"t": -1}),
        ("btcusdt@trade", TRADE | {"t": 2**63}),
        ("btcusdt@trade", TRADE | {"t": "12345"}),
        ("btcusdt@trade", TRADE | {"t": 1.5}),
        ("btcusdt@trade", TRADE | {"T": -1}),
        ("btcusdt@trade", TRADE | {"T": 1672515782135000}),
        ("btcusdt@trade", TRADE | {"m": 1}),
        ("btcusdt@trade", TRADE | {"s": ""}),
        ("btcusdt@trade", {name: value for name, value in TRADE.items() if name != "m"}),
        ("btcusdt@trade", [TRADE]),
        ("btcusdt@trade", None),
        ("btcusdt@depth", DEPTH | {"U": 161}),
        ("btcusdt@depth", DEPTH | {"b": [["1"]]}),
        ("btcusdt@depth", DEPTH | {"b": [["1", "-2"]]}),
        ("btcusdt@depth", DEPTH | {"a": [["NaN", "2"]]}),
        ("btcusdt@depth", DEPTH | {"a": [[1, 2]]}),
        ("btcusdt@depth", DEPTH | {"a": {}}),
        ("btcusdt@bookTicker", TICKER | {"B": "-1"}),
        ("btcusdt@bookTicker", TICKER | {"u": None}),
    ],
)
def test_what_binance_does_not_document_is_malformed(stream: str, message: object) -> None:
    with pytest.raises(MalformedFrame):
        SPOT.decode(push(stream, message))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ("btcusdt@markPrice@1s", MARK | {"p": "-1"}),
        ("btcusdt@markPrice@1s", MARK | {"r": "much"}),
        ("btcusdt@forceOrder", {"o": ORDER | {"S": "LONG"}}),
        ("btcusdt@forceOrder", {"o": ORDER | {"ap": "0", "p": "0"}}),
        ("btcusdt@forceOrder", {"o": ORDER | {"ap": "0", "q": "0"}}),
        ("btcusdt@forceOrder", {"o": ORDER | {"z": "-1"}}),
        ("btcusdt@forceOrder", {}),
    ],
)
def test_what_futures_do_not_document_is_malformed(stream: str, message: object) -> None:
    with pytest.raises(MalformedFrame):
        MARKET.decode(push(stream, message))


def test_stream_without_data_is_malformed() -> None:
    with pytest.raises(MalformedFrame, match="btcusdt@trade without data"):
        SPOT.decode(b'{"stream":"btcusdt@trade"}')


def test_second_name_of_a_stream_cannot_lead_later_frames_astray() -> None:
    (fresh,) = binance.connections("spot", list(INSTRUMENTS))
    body = json.dumps(DEPTH)
    fresh.decode(f'{{"stream":"btcusdt@trade","stream":"btcusdt@depth","data":{body}}}'.encode())
    assert isinstance(only(fresh.decode(push("btcusdt@trade", TRADE))), Trade)


def test_names_of_streams_that_never_end_are_not_all_remembered() -> None:
    (anything,) = binance.connections("spot", None)
    for number in range(5000):
        anything.decode(push(f"x{number}@trade", TRADE | {"s": f"X{number}", "p": str(number + 1)}))
    assert len(anything._routes) <= 4096
    assert len(anything._positive) <= 4096


def test_subscription_names_each_stream_on_the_path_that_serves_it() -> None:
    def streams(venue: binance.BinanceConnection) -> set[str]:
        (request,) = venue.subscribe()
        message = json.loads(request)
        assert message["method"] == "SUBSCRIBE"
        return {name for name in message["params"] if name.startswith("btcusdt@")}

    assert streams(SPOT) == {"btcusdt@trade", "btcusdt@depth@100ms", "btcusdt@bookTicker"}
    assert streams(PUBLIC) == {"btcusdt@depth@100ms", "btcusdt@bookTicker"}
    assert streams(MARKET) == {"btcusdt@aggTrade", "btcusdt@markPrice@1s", "btcusdt@forceOrder"}
    assert (SPOT.url, PUBLIC.url, MARKET.url) == (
        "wss://stream.binance.com:9443/stream",
        "wss://fstream.binance.com/public/stream",
        "wss://fstream.binance.com/market/stream",
    )
    (silent,) = binance.connections("spot", None)
    assert silent.subscribe() == ()


def test_all_names_that_are_subscribed_to_are_found_by_their_first_bytes() -> None:
    for venue in (SPOT, PUBLIC, MARKET, COINM):
        for name in json.loads(venue.subscribe()[0])["params"]:
            assert len(b'{"stream":"%b"' % name.encode()) <= binance._HEAD


def test_streams_say_how_they_are_proven() -> None:
    assert {(one.channel, one.proof) for one in (*PUBLIC.streams, *MARKET.streams)} == {
        (Channel.TRADES, Proof.SEQUENCE),
        (Channel.BOOK, Proof.SEQUENCE),
        (Channel.FUNDING, Proof.NONE),
        (Channel.LIQUIDATIONS, Proof.NONE),
    }
    assert {one.symbol for one in PUBLIC.streams} == {"BTC-USDT-PERP", "ETH-USDT-PERP"}


def test_book_comes_over_rest_where_there_is_one() -> None:
    assert SPOT.snapshot_url("BTC-USDT") == "https://api.binance.com/api/v3/depth?symbol=BTCUSDT&limit=1000"
    assert PUBLIC.snapshot_url("BTC-USDT-PERP") == "https://fapi.binance.com/fapi/v1/depth?symbol=BTCUSDT&limit=1000"
    assert MARKET.snapshot_url("BTC-USDT-PERP") == ""
    assert SPOT.snapshot_url("DOGE-USDT") == ""
    assert all(venue.resubscribe(stream) == () for venue in (SPOT, PUBLIC, MARKET) for stream in venue.streams)


def test_snapshot_is_read_with_its_number() -> None:
    body = (
        b'{"lastUpdateId":1027024,"E":1589436922972,"T":1589436922959,"bids":[["4.00","431.0"]],"asks":[["4.2","12"]]}'
    )
    expected = BookUpdate("BTC-USDT-PERP", True, [("4.00", "431.0")], [("4.2", "12")], 1589436922959, 1027024, 1027024)
    assert PUBLIC.decode_snapshot("BTC-USDT-PERP", body) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<html>",
        b'{"code":-1121,"msg":"Invalid symbol."}',
        b'{"lastUpdateId":1,"bids":[["x","1"]],"asks":[]}',
    ],
)
def test_snapshot_that_is_none_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedFrame):
        SPOT.decode_snapshot("BTC-USDT", body)


def test_market_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="it has spot, usdm, coinm"):
        binance.connections("options", None)


def _update(first: int, last: int, previous: int = -1) -> BookUpdate:
    return BookUpdate("BTC-USDT", False, [], [], 0, first, last, previous)


def _snapshot(last: int) -> BookUpdate:
    return BookUpdate("BTC-USDT", True, [], [], 0, last, last)


def test_spot_chain_drops_what_the_snapshot_has_and_goes_on_where_it_ends() -> None:
    rule = SPOT.book_rule("BTC-USDT")
    assert rule.check(_update(90, 95)) is Step.DROP, "no book yet"
    assert rule.check(_snapshot(100)) is Step.APPLY
    assert [rule.check(one) for one in (_update(96, 99), _update(100, 100))] == [Step.DROP] * 2
    assert rule.check(_update(99, 104)) is Step.APPLY
    assert rule.check(_update(105, 105)) is Step.APPLY
    assert rule.check(_update(105, 105)) is Step.DROP, "twice"


def test_spot_chain_breaks_on_a_hole_and_waits_for_a_snapshot() -> None:
    rule = SPOT.book_rule("BTC-USDT")
    rule.check(_snapshot(100))
    assert rule.check(_update(102, 103)) is Step.RESYNC, "also when the snapshot is older than the stream"
    assert rule.check(_update(104, 105)) is Step.DROP
    assert rule.check(_snapshot(104)) is Step.APPLY
    assert rule.check(_update(104, 105)) is Step.APPLY


def test_futures_chain_follows_the_number_before() -> None:
    rule = PUBLIC.book_rule("BTC-USDT-PERP")
    assert rule.check(_update(90, 95, 89)) is Step.DROP
    rule.check(_snapshot(100))
    assert rule.check(_update(90, 99, 89)) is Step.DROP
    assert rule.check(_update(98, 104, 96)) is Step.APPLY, "the first one holds the snapshot's number"
    assert rule.check(_update(108, 110, 104)) is Step.APPLY, "numbers jump, the chain does not"
    assert rule.check(_update(108, 110, 104)) is Step.DROP, "twice"
    assert rule.check(_update(120, 125, 111)) is Step.RESYNC
    assert rule.check(_update(126, 130, 125)) is Step.DROP
    assert rule.check(_snapshot(128)) is Step.APPLY


def test_futures_chain_begins_after_the_snapshot_too_if_nothing_lies_between() -> None:
    rule = PUBLIC.book_rule("BTC-USDT-PERP")
    rule.check(_snapshot(100))
    assert rule.check(_update(103, 105, 100)) is Step.APPLY
    rule.check(_snapshot(200))
    assert rule.check(_update(203, 205, 198)) is Step.APPLY, "the snapshot's number lies in the space between two"
    rule.check(_snapshot(300))
    assert rule.check(_update(303, 305, 302)) is Step.RESYNC
