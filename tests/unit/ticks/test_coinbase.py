"""Coinbase Advanced and the older Exchange by their documentation."""

from __future__ import annotations

import json

import pytest

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Heartbeat,
    MalformedFrame,
    Sequence,
    TopOfBook,
    Trade,
    Unknown,
)
from coinswarm.ticks.protocol import Proof, Step
from coinswarm.ticks.venues import coinbase, legacy_coinbase

pytestmark = pytest.mark.unit

ALL = coinbase.connections("spot", list(INSTRUMENTS))
VENUE = ALL[0]
(LEGACY,) = legacy_coinbase.connections("spot", None)

TRADE = {
    "trade_id": "12345",
    "product_id": "BTC-USD",
    "price": "60123.10",
    "size": "0.00100000",
    "side": "SELL",
    "time": "2026-03-01T12:00:00.123456Z",
}
BID = {"side": "bid", "event_time": "1970-01-01T00:00:00Z", "price_level": "60123.10", "new_quantity": "0.5"}
OFFER = BID | {"side": "offer", "price_level": "60124.00", "new_quantity": "0"}


def push(channel: str, *events: object, **more: object) -> bytes:
    frame = {
        "channel": channel,
        "client_id": "",
        "timestamp": "2026-03-01T12:00:00.250000001Z",
        "sequence_num": 7,
        "events": events,
    }
    return json.dumps(frame | more).encode()


def trades(*rows: object, kind: str = "update") -> bytes:
    return push("market_trades", {"type": kind, "trades": rows})


def levels(*rows: object, kind: str = "update", **more: object) -> bytes:
    return push("l2_data", {"type": kind, "product_id": "BTC-USD", "updates": rows} | more)


@pytest.mark.parametrize(("maker", "taker"), [("SELL", "buy"), ("BUY", "sell")])
def test_trade_is_numbered_and_the_taker_did_the_opposite_of_the_maker(maker: str, taker: str) -> None:
    assert list(VENUE.decode(trades(TRADE | {"side": maker}))) == [
        Sequence(7),
        Trade("BTC-USD", "60123.10", "0.00100000", taker, 1772366400123, "12345", 12345, 12345),
    ]


@pytest.mark.parametrize("order", [("9", "10", "11"), ("11", "10", "9"), ("10", "11", "9")])
def test_trades_of_a_frame_come_in_the_order_of_their_numbers(order: tuple[str, ...]) -> None:
    events = VENUE.decode(trades(*(TRADE | {"trade_id": number} for number in order), kind="snapshot"))
    assert [event.first for event in events if isinstance(event, Trade)] == [9, 10, 11]


def test_trade_of_the_year_1_has_the_time_of_its_frame() -> None:
    _, trade = VENUE.decode(trades(TRADE | {"time": "0001-01-01T00:00:00Z"}))
    assert isinstance(trade, Trade)
    assert trade.ts == 1772366400250


def test_book_is_split_into_sides_with_the_time_and_the_number_of_the_frame() -> None:
    assert list(VENUE.decode(levels(OFFER, BID, kind="snapshot"))) == [
        Sequence(7),
        BookUpdate("BTC-USD", True, [("60123.10", "0.5")], [("60124.00", "0")], 1772366400250, 7, 7),
    ]
    _, update = VENUE.decode(levels(BID))
    assert isinstance(update, BookUpdate)
    assert (update.snapshot, update.bids, update.asks) == (False, [("60123.10", "0.5")], [])


def test_rule_waits_for_the_snapshot() -> None:
    rule = VENUE.book_rule("BTC-USD")
    steps = []
    for frame in (levels(BID), levels(BID, kind="snapshot"), levels(BID)):
        _, update = VENUE.decode(frame)
        assert isinstance(update, BookUpdate)
        steps.append(rule.check(update))
    assert steps == [Step.DROP, Step.APPLY, Step.APPLY]


@pytest.mark.parametrize("counter", [3049, "3049"])
def test_heartbeat_is_counted(counter: int | str) -> None:
    frame = push("heartbeats", {"current_time": "2026-03-01 12:00:00 UTC m=+3049.1", "heartbeat_counter": counter})
    assert list(VENUE.decode(frame)) == [Sequence(7), Heartbeat(3049)]


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        (
            push("subscriptions", {"subscriptions": {"level2": ["BTC-USD"], "heartbeats": ["heartbeats"]}}),
            [Sequence(7), Ack(True, "subscribed heartbeats level2")],
        ),
        (push("subscriptions", {"subscriptions": {}}), [Sequence(7), Ack(True, "subscribed")]),
        (push("ticker", {"type": "snapshot", "tickers": []}), [Sequence(7), Unknown("ticker")]),
        (b'{"type":"error","message":"channel not allowed"}', [Ack(False, "channel not allowed")]),
        (b"{}", [Unknown("without channel")]),
        (trades(TRADE | {"product_id": "BTC-USDC"}), [Sequence(7), Unknown("symbol BTC-USDC")]),
        (levels(BID, product_id="XRP-USD"), [Sequence(7), Unknown("symbol XRP-USD")]),
        (trades(), [Sequence(7)]),
        (push("l2_data"), [Sequence(7)]),
    ],
)
def test_other_messages_are_known_or_named_and_their_number_counts(frame: bytes, events: list[object]) -> None:
    assert list(VENUE.decode(frame)) == events


@pytest.mark.parametrize(
    "frame",
    [
        push("market_trades", {"type": "update"}),
        push("market_trades", {"type": "update", "trades": None}),
        push("market_trades", sequence_num="7"),
        push("market_trades", sequence_num=-1),
        push("l2_data", sequence_num=2**63),
        push("l2_data", timestamp="0001-01-01T00:00:00Z"),
        push("l2_data", timestamp="yesterday"),
        push("heartbeats", {"current_time": "now"}),
        push("heartbeats", {"heartbeat_counter": "many"}),
        push("subscriptions", {"subscriptions": []}),
        trades(TRADE | {"price": "0"}),
        trades(TRADE | {"price": "1.2.3"}),
        trades(TRADE | {"price": 60123.1}),
        trades(TRADE | {"size": "-1"}),
        trades(TRADE | {"size": "NaN"}),
        trades(TRADE | {"size": "9" * 41}),
        trades(TRADE | {"side": "UNKNOWN"}),
        trades(TRADE | {"side": "buy"}),
        trades(TRADE | {"trade_id": "4c1f"}),
        trades(TRADE | {"trade_id": "9" * 19}),
        trades(TRADE | {"time": "2026-03-01T12:00:00"}),
        trades(TRADE, TRADE | {"trade_id": "x"}),
        levels(BID | {"side": "ask"}),
        levels(BID | {"price_level": ""}),
        levels(BID | {"price_level": "1_0"}),
        levels(BID | {"price_level": "\u0661"}),
        levels(BID | {"new_quantity": "-1"}),
        levels(OFFER | {"new_quantity": "-1"}),
        levels(BID | {"new_quantity": "9" * 41}),
        levels(BID | {"new_quantity": None}),
        levels(BID, kind="partial"),
        levels(7),
    ],
)
def test_malformed_message_of_our_channels_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame, match=r"\w"):
        VENUE.decode(frame)


def test_each_product_has_a_connection_and_each_channel_a_request() -> None:
    assert [venue.name for venue in ALL] == ["coinbase_BTC-USD", "coinbase_ETH-USD", "coinbase_ETH-BTC"]
    assert [json.loads(frame) for frame in VENUE.subscribe()] == [
        {"type": "subscribe", "channel": "heartbeats"},
        {"type": "subscribe", "channel": "market_trades", "product_ids": ["BTC-USD"]},
        {"type": "subscribe", "channel": "level2", "product_ids": ["BTC-USD"]},
    ]
    assert [(stream.channel, stream.symbol, stream.proof) for stream in VENUE.streams] == [
        (Channel.TRADES, "BTC-USD", Proof.SEQUENCE),
        (Channel.BOOK, "BTC-USD", Proof.SEQUENCE),
    ]
    # Live, the snapshot comes over the socket: one over REST has no place among its frames.
    assert VENUE.snapshot_url("BTC-USD") == ""


def test_fresh_snapshot_is_asked_for_by_leaving_the_book_and_coming_back() -> None:
    trade_stream, book_stream = VENUE.streams
    assert VENUE.resubscribe(trade_stream) == ()
    assert [json.loads(frame) for frame in VENUE.resubscribe(book_stream)] == [
        {"type": kind, "channel": "level2", "product_ids": ["BTC-USD"]} for kind in ("unsubscribe", "subscribe")
    ]


def test_replay_takes_any_product_and_subscribes_to_nothing() -> None:
    (venue,) = coinbase.connections("spot", None)
    assert (venue.subscribe(), venue.streams, venue.name) == ((), (), "coinbase")
    _, trade = venue.decode(trades(TRADE | {"product_id": "XRP-USD"}))
    assert isinstance(trade, Trade)
    assert trade.symbol == "XRP-USD"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b'{"pricebook":{"product_id":"BTC-USD","bids":[{"price":"x","size":"1"}],"asks":[],"time":"2026-03-01T12:00:00Z"}}',
        b'{"pricebook":{"product_id":"BTC-USD","bids":[],"asks":[]}}',
    ],
)
def test_malformed_snapshot_over_rest_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedFrame):
        VENUE.decode_snapshot("BTC-USD", body)


# The older Exchange

MATCH = {
    "type": "match",
    "trade_id": 10,
    "sequence": 50,
    "maker_order_id": "ac928c66",
    "taker_order_id": "132fb6ae",
    "time": "2026-03-01T12:00:00.123456Z",
    "product_id": "BTC-USD",
    "size": "5.23512",
    "price": "400.23",
    "side": "sell",
}
TICKER = {
    "type": "ticker",
    "sequence": 51,
    "product_id": "BTC-USD",
    "price": "400.23",
    "best_bid": "400.22",
    "best_bid_size": "1.5",
    "best_ask": "400.23",
    "best_ask_size": "0",
    "side": "buy",
    "time": "2026-03-01T12:00:00.123456Z",
    "trade_id": 10,
    "last_size": "5.23512",
}


def sent(message: object) -> bytes:
    return json.dumps(message).encode()


@pytest.mark.parametrize("kind", ["match", "last_match"])
def test_match_is_by_the_taker(kind: str) -> None:
    expected = Trade("BTC-USD", "400.23", "5.23512", "buy", 1772366400123, "10", 10, 10)
    assert list(LEGACY.decode(sent(MATCH | {"type": kind}))) == [expected]


def test_book_of_the_exchange_begins_without_a_time() -> None:
    snapshot = {"type": "snapshot", "product_id": "BTC-USD", "bids": [["1.1", "2"]], "asks": [["1.2", "3"]]}
    change = {
        "type": "l2update",
        "product_id": "BTC-USD",
        "time": "2026-03-01T12:00:00Z",
        "changes": [["sell", "1.2", "0.00"], ["buy", "1.15", "4"]],
    }
    updates = [update for message in (snapshot, change) for update in LEGACY.decode(sent(message))]
    assert updates == [
        BookUpdate("BTC-USD", True, [("1.1", "2")], [("1.2", "3")], 0),
        BookUpdate("BTC-USD", False, [("1.15", "4")], [("1.2", "0.00")], 1772366400000),
    ]
    rule = LEGACY.book_rule("BTC-USD")
    steps = [rule.check(update) for update in (updates[1], *updates) if isinstance(update, BookUpdate)]
    assert steps == [Step.DROP, Step.APPLY, Step.APPLY]


def test_ticker_is_the_top_of_the_book_where_it_has_sizes() -> None:
    assert list(LEGACY.decode(sent(TICKER))) == [TopOfBook("BTC-USD", "400.22", "1.5", "400.23", "0", 1772366400123)]
    bare = {key: value for key, value in TICKER.items() if not key.endswith("_size")}
    assert list(LEGACY.decode(sent(bare))) == [Unknown("ticker without sizes")]


@pytest.mark.parametrize(
    ("message", "events"),
    [
        ({"type": "heartbeat", "sequence": 90, "last_trade_id": 20, "product_id": "BTC-USD"}, [Heartbeat()]),
        (
            {"type": "subscriptions", "channels": [{"name": "level2", "product_ids": []}, {"name": "matches"}]},
            [Ack(True, "subscribed level2 matches")],
        ),
        ({"type": "error", "message": "Failed to subscribe", "reason": "no"}, [Ack(False, "Failed to subscribe no")]),
        ({"type": "open", "sequence": 10}, [Unknown("open")]),
        ({}, [Unknown("without type")]),
    ],
)
def test_other_messages_of_the_exchange_are_known_or_named(message: object, events: list[object]) -> None:
    assert list(LEGACY.decode(sent(message))) == events


@pytest.mark.parametrize(
    "message",
    [
        MATCH | {"side": "SELL"},
        MATCH | {"trade_id": "10"},
        MATCH | {"price": "0.0"},
        MATCH | {"time": "0001-01-01T00:00:00Z"},
        TICKER | {"best_bid": "-1"},
        TICKER | {"best_ask_size": "x"},
        {"type": "snapshot", "product_id": "BTC-USD", "bids": [["1.1"]], "asks": []},
        {"type": "snapshot", "product_id": "BTC-USD", "bids": [["1.1", "x"]], "asks": []},
        {"type": "l2update", "product_id": "BTC-USD", "changes": [["bid", "1", "1"]], "time": "2026-03-01T12:00:00Z"},
        {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "1", "1"]]},
    ],
)
def test_malformed_message_of_the_exchange_is_refused(message: object) -> None:
    with pytest.raises(MalformedFrame, match=r"\w"):
        LEGACY.decode(sent(message))
