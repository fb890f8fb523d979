"""Kraken Futures by its documentation."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

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
from coinswarm.ticks.protocol import Step
from coinswarm.ticks.venues import kraken_futures

pytestmark = pytest.mark.unit

LINEAR = INSTRUMENTS.get("kraken", "BTC-USD-PERP")
# Not in the registry: one dollar a contract, settled in bitcoin.
INVERSE = replace(
    LINEAR,
    venue_symbol="PI_XBTUSD",
    symbol="BTC-USD-INVERSE",
    settle="BTC",
    contract_unit="USD",
    contract_size=Decimal(1),
)
(VENUE,) = kraken_futures.connections("kraken_futures", [LINEAR, INVERSE])

TRADE = {
    "feed": "trade",
    "product_id": "PF_XBTUSD",
    "uid": "caa9c653-420b-4c24-a9f1-462a054d86f1",
    "side": "sell",
    "type": "fill",
    "seq": 653355,
    "time": 1612269825817,
    "qty": 0.15,
    "price": 34969.5,
}
CHANGE = {
    "feed": "book",
    "product_id": "PF_XBTUSD",
    "side": "sell",
    "seq": 326094134,
    "price": 34981,
    "qty": 0,
    "timestamp": 1612269953629,
}
TICKER = {
    "feed": "ticker",
    "product_id": "PF_XBTUSD",
    "time": 1676393235406,
    "funding_rate": -0.0001,
    "relative_funding_rate": -0.000012,
    "next_funding_rate_time": 1676394000000,
    "bid": 21978.5,
    "index": 21984.54,
    "markPrice": 21979.68641534714,
    "openInterest": 3072.9,
    "suspended": False,
}


def frame(base: dict[str, object], **changes: object) -> bytes:
    return json.dumps({key: value for key, value in (base | changes).items() if value is not ...}).encode()


def test_linear_trade_is_in_base_units_and_numbered() -> None:
    what = ("BTC-USD-PERP", "34969.5", "0.15", "sell", 1612269825817, str(TRADE["uid"]), 653355, 653355)
    assert VENUE.decode(frame(TRADE)) == [Trade(*what, liquidation=False)]


def test_inverse_trade_becomes_coins_and_keeps_its_dollars() -> None:
    (trade,) = VENUE.decode(frame(TRADE, product_id="PI_XBTUSD", qty=15000.0))
    assert isinstance(trade, Trade)
    # 15000 / 34969.5 = 0.42894522369493415…
    assert (trade.symbol, trade.size, trade.native) == ("BTC-USD-INVERSE", "0.428945223695", "15000.0")


@pytest.mark.parametrize(("side", "position"), [("sell", "long"), ("buy", "short")])
def test_trade_by_liquidation_is_also_a_liquidation_of_the_position(side: str, position: str) -> None:
    trade, liquidation = VENUE.decode(frame(TRADE, type="liquidation", side=side))
    assert isinstance(trade, Trade)
    assert trade.liquidation
    assert liquidation == Liquidation(
        "BTC-USD-PERP", position, "34969.5", "0.15", 1612269825817, "average", sampled=False
    )


def test_past_trades_come_in_the_order_of_their_numbers() -> None:
    rows = [TRADE | {"seq": number, "uid": f"u{number}"} for number in (9, 8, 7)]
    message = {"feed": "trade_snapshot", "product_id": "PF_XBTUSD", "trades": rows}
    assert [event.id for event in VENUE.decode(frame(message)) if isinstance(event, Trade)] == ["u7", "u8", "u9"]


def test_book_snapshot_and_change_carry_their_number() -> None:
    message = {
        "feed": "book_snapshot",
        "product_id": "PF_XBTUSD",
        "timestamp": 1612269825817,
        "seq": 326072249,
        "tickSize": None,
        "bids": [{"price": 34892.5, "qty": 6385.0}],
        "asks": [{"price": 34911.5, "qty": 20598.0}],
    }
    assert VENUE.decode(frame(message)) == [
        BookUpdate(
            "BTC-USD-PERP", True, [("34892.5", "6385.0")], [("34911.5", "20598.0")], 1612269825817, 326072249, 326072249
        )
    ]
    assert VENUE.decode(frame(CHANGE)) == [
        BookUpdate("BTC-USD-PERP", False, [], [("34981", "0")], 1612269953629, 326094134, 326094134, 326094133)
    ]


def changes(*numbers: int) -> list[BookUpdate]:
    events = [event for number in numbers for event in VENUE.decode(frame(CHANGE, seq=number))]
    return [event for event in events if isinstance(event, BookUpdate)]


def test_rule_applies_consecutive_numbers_drops_old_ones_and_breaks_on_a_hole() -> None:
    rule = VENUE.book_rule("BTC-USD-PERP")
    snapshot = BookUpdate("BTC-USD-PERP", True, [], [], 0, 10, 10)
    assert [rule.check(change) for change in changes(9)] == [Step.DROP]
    assert rule.check(snapshot) is Step.APPLY
    assert [rule.check(change) for change in changes(9, 10, 11, 12)] == [Step.DROP, Step.DROP, Step.APPLY, Step.APPLY]
    # 13 is missing: the break is told once, then all waits for the snapshot.
    assert [rule.check(change) for change in changes(14, 15)] == [Step.RESYNC, Step.DROP]
    assert rule.check(BookUpdate("BTC-USD-PERP", True, [], [], 0, 20, 20)) is Step.APPLY
    assert [rule.check(change) for change in changes(21)] == [Step.APPLY]


def test_ticker_gives_relative_funding_and_open_interest() -> None:
    assert VENUE.decode(frame(TICKER)) == [
        Funding("BTC-USD-PERP", 1676393235406, "-0.000012", 1676394000000, 1, "21979.68641534714", "21984.54"),
        OpenInterest("BTC-USD-PERP", 1676393235406, "3072.9"),
    ]


def test_open_interest_in_dollars_becomes_coins_at_the_mark() -> None:
    events = VENUE.decode(frame(TICKER, product_id="PI_XBTUSD", openInterest=1000000.0, markPrice=20000.0))
    assert events[-1] == OpenInterest("BTC-USD-INVERSE", 1676393235406, "50", "1000000.0")
    events = VENUE.decode(frame(TICKER, product_id="PI_XBTUSD", openInterest=1000000.0, markPrice=0.0))
    assert [type(event) for event in events] == [Funding]


def test_ticker_of_a_dated_future_has_no_funding() -> None:
    bare = frame(TICKER, relative_funding_rate=..., next_funding_rate_time=..., markPrice=None)
    assert [type(event) for event in VENUE.decode(bare)] == [OpenInterest]


@pytest.mark.parametrize(
    ("message", "events"),
    [
        (b'{"feed":"heartbeat","time":1534262350627}', [Heartbeat()]),
        (b'{"event":"info","version":1}', []),
        (
            b'{"event":"subscribed","feed":"book","product_ids":["PF_XBTUSD"]}',
            [Ack(True, "subscribed book PF_XBTUSD")],
        ),
        (b'{"event":"subscribed","feed":"heartbeat"}', [Ack(True, "subscribed heartbeat")]),
        (
            b'{"event":"subscribed_failed","feed":"book","product_ids":["PF_X"]}',
            [Ack(False, "subscribed_failed book PF_X")],
        ),
        (b'{"event":"error","message":"Invalid feed"}', [Ack(False, "error  Invalid feed")]),
        (b'{"event":"challenge","message":"c"}', [Unknown("event challenge")]),
        (b'{"feed":"ticker_lite","product_id":"PF_XBTUSD"}', [Unknown("ticker_lite")]),
        (b"{}", [Unknown("without event and feed")]),
        (frame(TRADE, product_id="PF_XMRUSD"), [Unknown("symbol PF_XMRUSD")]),
    ],
)
def test_other_messages_are_known_or_named(message: bytes, events: list[object]) -> None:
    assert list(VENUE.decode(message)) == events


@pytest.mark.parametrize(
    "message",
    [
        frame(TRADE, seq=...),
        frame(TRADE, seq=-1),
        frame(TRADE, side="Sell"),
        frame(TRADE, qty=0),
        frame(TRADE, price="34969.5"),
        frame(TRADE, price=None),
        frame(TRADE, time=1e99),
        frame(TRADE, uid=""),
        frame(CHANGE, side=None),
        frame(CHANGE, qty=-1),
        frame(TICKER, markPrice="x"),
        frame(TICKER, openInterest=-5),
        frame(TICKER, time=None),
        b'{"feed":"book_snapshot","product_id":"PF_XBTUSD","timestamp":1,"seq":1,"bids":[{"price":1}],"asks":[]}',
        b'{"feed":"heartbeat"}',
    ],
)
def test_malformed_message_of_our_feeds_is_refused(message: bytes) -> None:
    with pytest.raises(MalformedFrame, match=r"kraken_futures|number|positive|negative"):
        VENUE.decode(message)


def test_subscription_asks_for_the_heartbeat_and_three_feeds() -> None:
    frames = [json.loads(sent) for sent in VENUE.subscribe()]
    assert [sent["feed"] for sent in frames] == ["heartbeat", "trade", "book", "ticker"]
    assert all(sent["product_ids"] == ["PF_XBTUSD", "PI_XBTUSD"] for sent in frames[1:])
    book = next(stream for stream in VENUE.streams if stream.channel == Channel.BOOK)
    assert [json.loads(sent) for sent in VENUE.resubscribe(book)] == [
        {"event": "unsubscribe", "feed": "book", "product_ids": ["PF_XBTUSD"]},
        {"event": "subscribe", "feed": "book", "product_ids": ["PF_XBTUSD"]},
    ]
