"""Kraken spot v2 by its documentation, and the retired v1."""

from __future__ import annotations

import json

import pytest

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.book import Book
from coinswarm.ticks.model import Ack, BookUpdate, Channel, Heartbeat, MalformedFrame, Trade, Unknown
from coinswarm.ticks.protocol import Step
from coinswarm.ticks.venues import kraken, legacy_kraken

pytestmark = pytest.mark.unit

(VENUE,) = kraken.connections("kraken_spot", list(INSTRUMENTS))

# The worked example of Kraken's guide to the checksum of v2: its text keeps the zeros, and so must we.
SNAPSHOT = b"""{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[
{"price":45283.5,"qty":0.10000000},{"price":45283.4,"qty":1.54582015},{"price":45282.1,"qty":0.10000000},
{"price":45281.0,"qty":0.10000000},{"price":45280.3,"qty":1.54592586},{"price":45279.0,"qty":0.07990000},
{"price":45277.6,"qty":0.03310103},{"price":45277.5,"qty":0.30000000},{"price":45277.3,"qty":1.54602737},
{"price":45276.6,"qty":0.15445238}],"asks":[
{"price":45285.2,"qty":0.00100000},{"price":45286.4,"qty":1.54571953},{"price":45286.6,"qty":1.54571109},
{"price":45289.6,"qty":1.54560911},{"price":45290.2,"qty":0.15890660},{"price":45291.8,"qty":1.54553491},
{"price":45294.7,"qty":0.04454749},{"price":45296.1,"qty":0.35380000},{"price":45297.5,"qty":0.09945542},
{"price":45299.5,"qty":0.18772827}],"checksum":3310070434}]}"""


def trade_frame(kind: str = "update", **changes: object) -> bytes:
    row = {
        "symbol": "BTC/USD",
        "side": "sell",
        "price": 64321.1,
        "qty": 0.5,
        "ord_type": "market",
        "trade_id": 4665906,
        "timestamp": "2023-09-25T07:49:37.708706Z",
    } | changes
    return json.dumps({"channel": "trade", "type": kind, "data": [row]}).encode()


def test_trade_keeps_the_text_of_its_numbers() -> None:
    frame = (
        b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"sell","price":64321.10,'
        b'"qty":0.00123400,"ord_type":"market","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}]}'
    )
    # 2023-09-25 07:49:37 UTC by `date -d … +%s`.
    assert VENUE.decode(frame) == [
        Trade("BTC-USD", "64321.10", "0.00123400", "sell", 1695628177708, "4665906", 4665906, 4665906)
    ]


@pytest.mark.parametrize(
    ("timestamp", "ts"),
    [
        ("2023-09-25T07:49:37Z", 1695628177000),
        ("2023-09-25T07:49:37.9Z", 1695628177900),
        ("2023-09-25T07:49:37.999999Z", 1695628177999),
        ("2023-09-25T09:49:37.001+02:00", 1695628177001),
    ],
)
def test_time_of_a_trade_is_milliseconds_rounded_down(timestamp: str, ts: int) -> None:
    (trade,) = VENUE.decode(trade_frame(timestamp=timestamp))
    assert isinstance(trade, Trade)
    assert trade.ts == ts


def test_snapshot_of_past_trades_is_put_in_the_order_of_their_numbers() -> None:
    rows = [json.loads(trade_frame(trade_id=number))["data"][0] for number in (7, 5, 6)]
    frame = json.dumps({"channel": "trade", "type": "snapshot", "data": rows}).encode()
    assert [event.first for event in VENUE.decode(frame) if isinstance(event, Trade)] == [5, 6, 7]


def test_snapshot_of_the_guide_has_the_checksum_of_the_guide() -> None:
    (update,) = VENUE.decode(SNAPSHOT)
    assert isinstance(update, BookUpdate)
    assert (update.symbol, update.snapshot, update.checksum) == ("BTC-USD", True, 3310070434)
    book = Book(update.symbol, VENUE.book_depth)
    book.apply(update)
    assert VENUE.checksum("BTC-USD", *book.top(10)) == 3310070434
    book.apply(BookUpdate("BTC-USD", False, [("45276.6", "0.15445239")], [], 0))
    assert VENUE.checksum("BTC-USD", *book.top(10)) != 3310070434


def test_checksum_of_the_guide_to_v1_matches_and_ignores_what_is_deeper() -> None:
    asks = [(f"0.0{price}", "0.00000500") for price in range(5005, 5055, 5)]
    bids = [(f"0.0{price}", "0.00000500") for price in (5000, 4995, 4990, 4980, 4975, 4970, 4965, 4960, 4955, 4950)]
    assert kraken.checksum(bids, asks) == 974947235
    assert kraken.checksum([*bids, ("0.01", "1")], [*asks, ("0.9", "1")]) == 974947235


def test_level_that_falls_out_of_the_depth_is_gone_without_a_delete() -> None:
    (snapshot,) = VENUE.decode(SNAPSHOT)
    book = Book("BTC-USD", VENUE.book_depth)
    assert isinstance(snapshot, BookUpdate)
    book.apply(snapshot)
    book.apply(BookUpdate("BTC-USD", False, [("45283.6", "1")], [], 0))
    book.apply(BookUpdate("BTC-USD", False, [("45283.6", "0")], [], 0))
    assert len(book.top(99)[0]) == 9


def test_update_of_a_book_with_a_removed_level_has_size_zero() -> None:
    frame = (
        b'{"channel":"book","type":"update","data":[{"symbol":"ETH/USD","bids":[{"price":1850.50,"qty":0}],"asks":[],'
        b'"checksum":17,"timestamp":"2023-10-06T17:35:55.440295Z"}]}'
    )
    assert VENUE.decode(frame) == [BookUpdate("ETH-USD", False, [("1850.50", "0")], [], 1696613755440, checksum=17)]


def test_rule_drops_updates_before_the_first_snapshot() -> None:
    rule = VENUE.book_rule("BTC-USD")
    update, snapshot = BookUpdate("BTC-USD", False, [], [], 0), BookUpdate("BTC-USD", True, [], [], 0)
    assert [rule.check(change) for change in (update, snapshot, update)] == [Step.DROP, Step.APPLY, Step.APPLY]


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        (b'{"channel":"heartbeat"}', [Heartbeat()]),
        (b'{"method":"pong","time_in":"a","time_out":"b"}', [Heartbeat()]),
        (b'{"channel":"status","type":"update","data":[{"system":"online","version":"2.0.4"}]}', []),
        (
            b'{"channel":"status","type":"update","data":[{"system":"maintenance"}]}',
            [Unknown("status maintenance")],
        ),
        (
            b'{"method":"subscribe","result":{"channel":"book","depth":10,"symbol":"BTC/USD"},"success":true}',
            [Ack(True, "subscribe book BTC/USD")],
        ),
        (
            b'{"error":"Currency pair not supported XBT/USD","method":"subscribe","success":false,"symbol":"XBT/USD"}',
            [Ack(False, "Currency pair not supported XBT/USD")],
        ),
        (b'{"channel":"ohlc","type":"update","data":[{"symbol":"BTC/USD"}]}', [Unknown("ohlc")]),
        (b'{"method":"strange"}', [Unknown("strange")]),
        (b"{}", [Unknown("without channel and method")]),
        (trade_frame(symbol="XMR/USD"), [Unknown("symbol XMR/USD")]),
        (SNAPSHOT.replace(b"BTC/USD", b"XMR/USD"), [Unknown("symbol XMR/USD")]),
    ],
)
def test_other_messages_are_known_or_named(frame: bytes, events: list[object]) -> None:
    assert list(VENUE.decode(frame)) == events


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        (trade_frame(price=None), "null"),
        (trade_frame(price="64321.1"), "64321.1"),
        (trade_frame(price=-1), "-1"),
        (trade_frame(qty=0), "positive"),
        (trade_frame(qty=0.0), "positive"),
        (trade_frame(qty=[1]), "number"),
        (trade_frame(side="up"), "side"),
        (trade_frame(trade_id="4"), "trade_id"),
        (trade_frame(trade_id=-4), "trade_id"),
        (trade_frame(trade_id=2**63), "trade_id"),
        (trade_frame(trade_id=4.5), "trade_id"),
        (trade_frame(timestamp="2023-09-25T07:49:37"), "timestamp"),
        (trade_frame(timestamp="1969-12-31T23:59:59Z"), "1969"),
        (trade_frame(timestamp="8023-09-25T07:49:37Z"), "8023"),
        (trade_frame(kind="delta"), "type"),
        (trade_frame().replace(b"0.5,", b"1e999,"), "1e999"),
        (trade_frame().replace(b"0.5,", b"0." + b"1" * 60 + b","), "number"),
        (trade_frame().replace(b'"symbol": "BTC/USD", ', b""), "symbol"),
        (SNAPSHOT.replace(b'"checksum":3310070434', b'"checksum":-1'), "checksum"),
        (SNAPSHOT.replace(b"45283.5", b"0"), "positive"),
        (SNAPSHOT.replace(b'"price":45283.5,', b""), "price"),
    ],
)
def test_malformed_message_of_our_channels_is_refused_and_named(frame: bytes, named: str) -> None:
    with pytest.raises(MalformedFrame, match=named):
        VENUE.decode(frame)


def test_size_with_an_exponent_becomes_plain() -> None:
    (trade,) = VENUE.decode(trade_frame().replace(b"0.5,", b"5.0e-8,"))
    assert isinstance(trade, Trade)
    assert trade.size == "0.000000050"


def test_subscription_asks_for_all_symbols_of_both_channels() -> None:
    assert [json.loads(frame)["params"] for frame in VENUE.subscribe()] == [
        {"channel": "trade", "symbol": ["BTC/USD", "ETH/USD"], "snapshot": True},
        {"channel": "book", "symbol": ["BTC/USD", "ETH/USD"], "depth": 10},
    ]


def test_fresh_snapshot_is_asked_for_by_leaving_the_book_and_coming_back() -> None:
    book = next(s for s in VENUE.streams if s.channel == Channel.BOOK and s.symbol == "ETH-USD")
    frames = [json.loads(frame) for frame in VENUE.resubscribe(book)]
    assert [frame["method"] for frame in frames] == ["unsubscribe", "subscribe"]
    assert all(frame["params"] == {"channel": "book", "symbol": ["ETH/USD"], "depth": 10} for frame in frames)
    assert VENUE.resubscribe(VENUE.streams[0]) == ()


LEGACY = legacy_kraken.connections("spot", None)[0]


@pytest.mark.parametrize(
    "frame",
    [
        b"[]",
        b"[1,2,3]",
        b'[1,{"a":[]},"book-10","XBT/USD"]',
        b'[1,{"a":[["1.0","1"]]},"book-10","XBT/USD"]',
        b'[1,{"a":[["1.0","x","1.0"]]},"book-10","XBT/USD"]',
        b'[1,{"a":[["1.0","1.0","1.0"]],"c":"x"},"book-10","XBT/USD"]',
        b'[1,[["1.0","1.0","1.0","x","m",""]],"trade","XBT/USD"]',
        b'[1,[["0","1.0","1.0","b","m",""]],"trade","XBT/USD"]',
        b'[1,[["1","1.0","-1.0","b","m",""]],"trade","XBT/USD"]',
        b'[1,{},7,"XBT/USD"]',
        b'{"event":7}',
    ],
)
def test_malformed_message_of_v1_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        LEGACY.decode(frame)


def test_trades_of_v1_have_no_number_but_an_id_of_their_own() -> None:
    frame = (
        b'[321,[["57126.70000","0.02063928","1616333924.737428","b","m",""],'
        b'["57126.60000","0.1","1616333924.737428","s","l",""]],"trade","XBT/USD"]'
    )
    assert LEGACY.decode(frame) == [
        Trade("XBT/USD", "57126.70000", "0.02063928", "buy", 1616333924737, "1616333924.737428-0"),
        Trade("XBT/USD", "57126.60000", "0.1", "sell", 1616333924737, "1616333924.737428-1"),
    ]


def test_v1_when_instruments_are_given_knows_bitcoin_as_xbt_and_refuses_what_is_not_listed() -> None:
    listed = legacy_kraken.connections("spot", [i for i in INSTRUMENTS.of("kraken") if i.market == "spot"])[0]
    frame = b'[321,[["57126.7","0.02","1616333924.737428","b","m",""]],"trade","XBT/USD"]'
    (trade,) = listed.decode(frame)
    assert isinstance(trade, Trade)
    assert trade.symbol == "BTC-USD"
    assert list(listed.decode(frame.replace(b"XBT/USD", b"XMR/USD"))) == [Unknown("symbol XMR/USD")]
