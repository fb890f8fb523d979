"""Deribit by its documentation."""

from __future__ import annotations

import json

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
    OptionTick,
    Reply,
    Trade,
    Unknown,
    VolatilityIndex,
)
from coinswarm.ticks.protocol import Proof, Step
from coinswarm.ticks.venues import deribit

pytestmark = pytest.mark.unit

(VENUE,) = deribit.connections("deribit", list(INSTRUMENTS))

TRADE = {
    "trade_seq": 30289442,
    "trade_id": "48079269",
    "timestamp": 1590484512188,
    "tick_direction": 2,
    "price": 8950.0,
    "mark_price": 8948.9,
    "instrument_name": "BTC-PERPETUAL",
    "index_price": 8955.88,
    "direction": "sell",
    "amount": 10.0,
}
CHANGE = {
    "type": "change",
    "timestamp": 1554373911330,
    "prev_change_id": 297217,
    "instrument_name": "BTC-PERPETUAL",
    "change_id": 297218,
    "bids": [["delete", 5041.94, 0.0], ["delete", 5042.34, 0.0]],
    "asks": [["new", 5042.5, 40.0], ["change", 5042.64, 250.0]],
}
PERPETUAL = {
    "timestamp": 1623059681955,
    "instrument_name": "BTC-PERPETUAL",
    "open_interest": 502097590,
    "mark_price": 36446.51,
    "index_price": 36441.64,
    "funding_8h": -2.11e-5,
    "current_funding": 0.0,
    "state": "open",
}
OPTION = {
    "timestamp": 1623060151921,
    "instrument_name": "BTC-3JAN26-100000-C",
    "mark_price": 0.0333,
    "mark_iv": 80.95,
    "bid_iv": 0.0,
    "ask_iv": 97.7,
    "underlying_price": 36450.12,
    "open_interest": 12.5,
    "greeks": {"delta": -0.05785, "gamma": 0.00001},
}


def push(channel: str, data: object) -> bytes:
    params = {"channel": channel, "data": data}
    message = {"jsonrpc": "2.0", "method": "subscription", "params": params}
    return json.dumps(message, separators=(",", ":")).encode()


def spaced(frame: bytes) -> bytes:
    return json.dumps(json.loads(frame)).encode()


def test_trade_in_dollars_becomes_coins_and_is_numbered_per_instrument() -> None:
    # 10 / 8950 = 0.00111731843575418…
    expected = [
        Trade(
            "BTC-USD-PERP",
            "8950.0",
            "0.001117318436",
            "sell",
            1590484512188,
            "48079269",
            30289442,
            30289442,
            "10.0",
            liquidation=False,
        )
    ]
    frame = push("trades.BTC-PERPETUAL.100ms", [TRADE])
    assert VENUE.decode(frame) == expected
    assert VENUE.decode(spaced(frame)) == expected


@pytest.mark.parametrize(
    ("who", "direction", "positions"),
    [
        ("T", "sell", ["long"]),
        ("T", "buy", ["short"]),
        ("M", "sell", ["short"]),
        ("M", "buy", ["long"]),
        ("MT", "sell", ["long", "short"]),
    ],
)
def test_trade_by_liquidation_names_the_liquidated_positions(who: str, direction: str, positions: list[str]) -> None:
    events = VENUE.decode(push("trades.BTC-PERPETUAL.100ms", [TRADE | {"liquidation": who, "direction": direction}]))
    assert [event.side for event in events if isinstance(event, Liquidation)] == positions
    assert {event.size for event in events if isinstance(event, Liquidation | Trade)} == {"0.001117318436"}
    assert [event.liquidation for event in events if isinstance(event, Trade)] == [True]


def test_trade_of_an_option_is_in_coins() -> None:
    row = TRADE | {"instrument_name": "BTC-3JAN26-100000-C", "price": 0.0075, "amount": 0.1, "iv": 50.1}
    (trade,) = VENUE.decode(push("trades.option.BTC.100ms", [row]))
    assert isinstance(trade, Trade)
    assert (trade.symbol, trade.price, trade.size, trade.native) == ("BTC-3JAN26-100000-C", "0.0075", "0.1", "")


def test_changes_of_a_book_become_levels_and_deletes_sizes_of_zero() -> None:
    assert VENUE.decode(push("book.BTC-PERPETUAL.100ms", CHANGE)) == [
        BookUpdate(
            "BTC-USD-PERP",
            False,
            [("5041.94", "0"), ("5042.34", "0")],
            [("5042.5", "40.0"), ("5042.64", "250.0")],
            1554373911330,
            297218,
            297218,
            297217,
        )
    ]


def test_grouped_book_is_a_snapshot_each_time() -> None:
    data = {
        "timestamp": 1554375447971,
        "instrument_name": "ETH-PERPETUAL",
        "change_id": 109615,
        "bids": [[160, 40]],
        "asks": [[161, 20.0]],
    }
    assert VENUE.decode(push("book.ETH-PERPETUAL.100.1.100ms", data)) == [
        BookUpdate("ETH-USD-PERP", True, [("160", "40")], [("161", "20.0")], 1554375447971, 109615, 109615)
    ]


def step(rule: object, previous: int, number: int, *, snapshot: bool = False) -> Step:
    data = CHANGE | {"prev_change_id": previous, "change_id": number, "type": "snapshot" if snapshot else "change"}
    (update,) = VENUE.decode(push("book.BTC-PERPETUAL.100ms", data))
    assert isinstance(update, BookUpdate)
    return rule.check(update)  # type: ignore[attr-defined,no-any-return]


def test_rule_follows_change_ids_and_breaks_once_on_a_hole() -> None:
    rule = VENUE.book_rule("BTC-USD-PERP")
    assert step(rule, 90, 100) is Step.DROP
    assert step(rule, 0, 100, snapshot=True) is Step.APPLY
    assert step(rule, 100, 117) is Step.APPLY
    assert step(rule, 100, 117) is Step.DROP
    assert step(rule, 118, 130) is Step.RESYNC
    assert step(rule, 130, 131) is Step.DROP
    assert step(rule, 0, 140, snapshot=True) is Step.APPLY
    assert step(rule, 140, 141) is Step.APPLY


def test_ticker_of_a_perpetual_gives_funding_and_open_interest() -> None:
    # 502097590 / 36446.51 = 13776.2872220138498…
    assert VENUE.decode(push("ticker.BTC-PERPETUAL.agg2", PERPETUAL)) == [
        Funding("BTC-USD-PERP", 1623059681955, "-0.0000211", -1, 8, "36446.51", "36441.64"),
        OpenInterest("BTC-USD-PERP", 1623059681955, "13776.28722201385", "502097590"),
    ]


def test_ticker_of_an_option_gives_volatilities_in_percent() -> None:
    assert VENUE.decode(push("ticker.BTC-3JAN26-100000-C.agg2", OPTION)) == [
        OptionTick(
            "BTC-3JAN26-100000-C",
            "BTC",
            1623060151921,
            "80.95",
            "0.0",
            "97.7",
            "-0.05785",
            "0.0333",
            "36450.12",
            "12.5",
        )
    ]


def test_mark_volatilities_of_all_options_are_fractions_and_become_percent() -> None:
    rows = [
        {"timestamp": 1622470378005, "mark_price": 0.0333, "iv": 0.6543, "instrument_name": "BTC-2JUN21-37000-P"},
        {"timestamp": 1622470378005, "mark_price": 0.117, "iv": 1, "instrument_name": "BTC-4JUN21-40500-P"},
        {"timestamp": 1622470378005, "mark_price": 0.1, "iv": None, "instrument_name": "BTC-4JUN21-50500-P"},
        {"timestamp": 1622470378005, "mark_price": 0.1, "iv": 0.5, "instrument_name": "XRP_USDC-4JUN21-0d5-C"},
    ]
    assert VENUE.decode(push("markprice.options.btc_usd", rows)) == [
        OptionTick("BTC-2JUN21-37000-P", "BTC", 1622470378005, "65.43", mark="0.0333"),
        OptionTick("BTC-4JUN21-40500-P", "BTC", 1622470378005, "100", mark="0.117"),
        Unknown("symbol XRP_USDC-4JUN21-0d5-C"),
    ]


def test_volatility_index_belongs_to_its_asset() -> None:
    data = {"volatility": 129.36, "timestamp": 1619777946007, "index_name": "btc_usd", "estimated_delivery": 129.36}
    assert VENUE.decode(push("deribit_volatility_index.btc_usd", data)) == [
        VolatilityIndex("BTC", 1619777946007, "129.36")
    ]


def test_test_request_is_answered_at_once() -> None:
    beat, reply = VENUE.decode(b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}')
    assert beat == Heartbeat()
    assert isinstance(reply, Reply)
    sent = json.loads(reply.frame)
    assert sent["method"] == "public/test"
    answer = {"jsonrpc": "2.0", "id": sent["id"], "result": {"version": "1.2.26"}}
    assert list(VENUE.decode(json.dumps(answer).encode())) == [Heartbeat()]


def test_answer_that_leaves_out_a_channel_is_a_refusal_that_names_it() -> None:
    heartbeat, subscribe = (json.loads(frame) for frame in VENUE.subscribe())
    assert heartbeat["method"] == "public/set_heartbeat"
    assert heartbeat["params"]["interval"] >= 10
    asked = subscribe["params"]["channels"]
    assert {"trades.BTC-PERPETUAL.100ms", "book.ETH-PERPETUAL.100ms", "markprice.options.btc_usd"} <= set(asked)
    assert not [channel for channel in asked if channel.endswith(".raw")]

    def answer(channels: list[str]) -> list[object]:
        return list(VENUE.decode(json.dumps({"id": subscribe["id"], "result": channels}).encode()))

    assert answer(asked[::-1]) == [Ack(True, "channels")]
    assert answer(asked[1:]) == [Ack(False, f"no channel {asked[0]}")]


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        (b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}', [Heartbeat()]),
        (b'{"jsonrpc":"2.0","id":1,"result":"ok","usIn":1}', [Ack(True, '"ok"')]),
        (
            b'{"jsonrpc":"2.0","id":3,"error":{"code":10028,"message":"too_many_requests"}}',
            [Ack(False, "10028 too_many_requests")],
        ),
        (b'{"jsonrpc":"2.0","method":"strange"}', [Unknown("strange")]),
        (push("quote.BTC-PERPETUAL", {}), [Unknown("quote")]),
        (
            push("trades.XMR-PERPETUAL.100ms", [TRADE | {"instrument_name": "XMR-PERPETUAL"}]),
            [Unknown("symbol XMR-PERPETUAL")],
        ),
        (push("book.BTC-26MAR27.100ms", CHANGE | {"instrument_name": "BTC-26MAR27"}), [Unknown("symbol BTC-26MAR27")]),
        (
            push("ticker.BTC-31FEB26-1-C.agg2", OPTION | {"instrument_name": "BTC-31FEB26-1-C"}),
            [Unknown("symbol BTC-31FEB26-1-C")],
        ),
        (b"{}", [Unknown("without method and id")]),
    ],
)
def test_other_messages_are_known_or_named(frame: bytes, events: list[object]) -> None:
    assert list(VENUE.decode(frame)) == events


@pytest.mark.parametrize(
    "frame",
    [
        push("trades.BTC-PERPETUAL.100ms", None),
        push("trades.BTC-PERPETUAL.100ms", TRADE),
        push("trades.BTC-PERPETUAL.100ms", [TRADE | {"price": "8950"}]),
        push("trades.BTC-PERPETUAL.100ms", [TRADE | {"price": -1}]),
        push("trades.BTC-PERPETUAL.100ms", [TRADE | {"amount": 0}]),
        push("trades.BTC-PERPETUAL.100ms", [TRADE | {"direction": "up"}]),
        push("trades.BTC-PERPETUAL.100ms", [TRADE | {"liquidation": "X"}]),
        push("trades.BTC-PERPETUAL.100ms", [TRADE | {"trade_seq": -1}]),
        push("trades.BTC-PERPETUAL.100ms", [TRADE | {"timestamp": 1e15}]),
        push("book.BTC-PERPETUAL.100ms", CHANGE | {"type": "delta"}),
        push("book.BTC-PERPETUAL.100ms", {k: v for k, v in CHANGE.items() if k != "prev_change_id"}),
        push("book.BTC-PERPETUAL.100ms", CHANGE | {"bids": [["gone", 1, 1]]}),
        push("book.BTC-PERPETUAL.100ms", CHANGE | {"bids": [["new", 1]]}),
        push("book.BTC-PERPETUAL.100ms", CHANGE | {"bids": [["new", 1, -1]]}),
        push("book.BTC-PERPETUAL.100ms", CHANGE | {"bids": [["new", 0, 1]]}),
        push("book.BTC-PERPETUAL.none.20.100ms", CHANGE),
        push("ticker.BTC-PERPETUAL.agg2", PERPETUAL | {"mark_price": "1"}),
        push("ticker.BTC-PERPETUAL.agg2", PERPETUAL | {"funding_8h": "0"}),
        push("ticker.BTC-3JAN26-100000-C.agg2", OPTION | {"greeks": {"delta": []}}),
        push("markprice.options.btc_usd", [{"instrument_name": "BTC-4JUN21-40500-P"}]),
        push("deribit_volatility_index.btc_usd", {"volatility": None, "timestamp": 1, "index_name": "btc_usd"}),
        b'{"method":"subscription","params":[]}',
        b'{"method":7}',
    ],
)
def test_malformed_message_of_our_channels_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame, match=r"\w"):
        VENUE.decode(frame)


def test_fresh_snapshot_is_asked_for_by_leaving_the_book_and_coming_back() -> None:
    book = next(stream for stream in VENUE.streams if stream.channel == Channel.BOOK)
    assert book.proof is Proof.SEQUENCE
    frames = [json.loads(frame) for frame in VENUE.resubscribe(book)]
    assert [frame["method"] for frame in frames] == ["public/unsubscribe", "public/subscribe"]
    assert all(frame["params"] == {"channels": ["book.BTC-PERPETUAL.100ms"]} for frame in frames)
