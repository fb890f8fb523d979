"""OKX v5 by its documentation."""

from __future__ import annotations

import json

import pytest

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Funding,
    Goodbye,
    Heartbeat,
    Liquidation,
    MalformedFrame,
    OpenInterest,
    Trade,
    Unknown,
)
from coinswarm.ticks.protocol import Step
from coinswarm.ticks.venues import okx

pytestmark = pytest.mark.unit

PUBLIC, BUSINESS = okx.connections("okx", list(INSTRUMENTS))

TRADE = {
    "instId": "BTC-USDT",
    "tradeId": "130639474",
    "px": "42219.9",
    "sz": "0.12060306",
    "side": "buy",
    "source": "0",
    "ts": "1630048897897",
}
BOOK = {
    "asks": [["8476.98", "415", "0", "13"], ["8477", "7", "0", "2"]],
    "bids": [["8476.97", "256", "0", "12"]],
    "ts": "1597026383085",
    "checksum": 0,
    "prevSeqId": -1,
    "seqId": 123456,
}


def push(channel: str, *rows: object, **more: object) -> bytes:
    return json.dumps({"arg": {"channel": channel, "instId": "BTC-USDT"}, "data": rows} | more).encode()


def tight(message: object) -> bytes:
    """As OKX sends it, without spaces: trades have a way of their own through the decoder."""
    return json.dumps(message, separators=(",", ":")).encode()


def test_spot_trade_is_in_base_units_and_numbered() -> None:
    expected = [Trade("BTC-USDT", "42219.9", "0.12060306", "buy", 1630048897897, "130639474", 130639474, 130639474)]
    frame = push("trades-all", TRADE)
    assert BUSINESS.decode(frame) == expected
    assert BUSINESS.decode(tight(json.loads(frame))) == expected


def test_contracts_become_coins_and_keep_their_number() -> None:
    (linear,) = BUSINESS.decode(push("trades-all", TRADE | {"instId": "BTC-USDT-SWAP", "sz": "7.5"}))
    (inverse,) = BUSINESS.decode(push("trades-all", TRADE | {"instId": "BTC-USD-SWAP", "sz": "3"}))
    assert isinstance(linear, Trade)
    assert isinstance(inverse, Trade)
    # 0.01 BTC a contract; 100 USD a contract: 300 / 42219.9 = 0.00710565396886302…
    assert (linear.symbol, linear.size, linear.native) == ("BTC-USDT-PERP", "0.075", "7.5")
    assert (inverse.symbol, inverse.size, inverse.native) == ("BTC-USD-PERP", "0.007105653969", "3")


def test_merged_trade_covers_the_ids_that_it_counts() -> None:
    (trade,) = BUSINESS.decode(push("trades", TRADE | {"count": "3"}))
    assert isinstance(trade, Trade)
    assert (trade.first, trade.last, trade.id) == (130639472, 130639474, "130639474")


def test_book_keeps_text_and_numbers_and_a_checksum_of_zero_is_none() -> None:
    assert PUBLIC.decode(push("books", BOOK, action="snapshot")) == [
        BookUpdate(
            "BTC-USDT",
            True,
            [("8476.97", "256")],
            [("8476.98", "415"), ("8477", "7")],
            1597026383085,
            123456,
            123456,
            -1,
            -1,
        )
    ]


def test_checksum_of_a_recording_is_compared_without_sign() -> None:
    (update,) = PUBLIC.decode(push("books", BOOK | {"checksum": -1881014294}, action="update"))
    assert isinstance(update, BookUpdate)
    # The two examples of OKX's documentation: -1881014294 and 831078360.
    assert PUBLIC.checksum("", [("3366.1", "7"), ("3366", "6")], [("3366.8", "9"), ("3368", "8")]) == update.checksum
    assert okx.checksum([("3366.1", "7")], [("3366.8", "9"), ("3368", "8"), ("3372", "8")]) == 831078360


def test_checksum_ignores_levels_below_the_25th() -> None:
    side = [(str(price), "1") for price in range(1, 30)]
    assert okx.checksum(side, side) == okx.checksum(side[:25], side[:25]) != okx.checksum(side[:24], side[:24])


def step(rule: object, previous: int, seq: int, *, snapshot: bool = False) -> Step:
    row = BOOK | {"prevSeqId": previous, "seqId": seq}
    if previous == seq:
        row |= {"asks": [], "bids": []}
    (update,) = PUBLIC.decode(push("books", row, action="snapshot" if snapshot else "update"))
    assert isinstance(update, BookUpdate)
    return rule.check(update)  # type: ignore[attr-defined,no-any-return]


def test_rule_follows_the_documented_example_of_steps_keep_alive_and_maintenance() -> None:
    rule = PUBLIC.book_rule("BTC-USDT")
    assert step(rule, 9, 10) is Step.DROP
    assert step(rule, -1, 10, snapshot=True) is Step.APPLY
    assert step(rule, 10, 15) is Step.APPLY
    assert step(rule, 15, 15) is Step.DROP  # nothing new for a minute
    assert step(rule, 15, 3) is Step.APPLY  # maintenance: numbers begin again
    assert step(rule, 3, 5) is Step.APPLY


def test_rule_drops_what_it_has_seen_and_breaks_once_on_a_hole() -> None:
    rule = PUBLIC.book_rule("BTC-USDT")
    step(rule, -1, 10, snapshot=True)
    assert step(rule, 10, 15) is Step.APPLY
    assert step(rule, 10, 15) is Step.DROP
    assert step(rule, 16, 18) is Step.RESYNC
    assert step(rule, 18, 19) is Step.DROP
    assert step(rule, -1, 30, snapshot=True) is Step.APPLY
    assert step(rule, 30, 31) is Step.APPLY


def test_rule_when_a_keep_alive_shows_a_hole_breaks_and_an_old_one_is_dropped() -> None:
    rule = PUBLIC.book_rule("BTC-USDT")
    step(rule, -1, 10, snapshot=True)
    assert step(rule, 10, 15) is Step.APPLY
    assert step(rule, 10, 10) is Step.DROP
    assert step(rule, 17, 17) is Step.RESYNC


def test_rule_when_updates_are_missing_before_maintenance_breaks() -> None:
    rule = PUBLIC.book_rule("BTC-USDT")
    step(rule, -1, 10, snapshot=True)
    assert step(rule, 15, 3) is Step.RESYNC


def test_rule_when_numbers_vanish_breaks() -> None:
    rule = PUBLIC.book_rule("BTC-USDT")
    step(rule, -1, 10, snapshot=True)
    assert step(rule, -1, -1) is not Step.APPLY


def test_rule_of_a_recording_without_numbers_applies_all_after_the_snapshot() -> None:
    rule = PUBLIC.book_rule("BTC-USDT")
    bare = {key: value for key, value in BOOK.items() if "eqId" not in key}
    (update,) = PUBLIC.decode(push("books", bare, action="update"))
    (snapshot,) = PUBLIC.decode(push("books", bare, action="snapshot"))
    assert isinstance(update, BookUpdate)
    assert isinstance(snapshot, BookUpdate)
    steps = [rule.check(change) for change in (update, snapshot, update, update)]
    assert steps == [Step.DROP, Step.APPLY, Step.APPLY, Step.APPLY]


def test_funding_takes_its_interval_from_the_two_times() -> None:
    row = {
        "instId": "BTC-USDT-SWAP",
        "instType": "SWAP",
        "fundingRate": "-0.0001875391284828",
        "fundingTime": "1700726400000",
        "nextFundingTime": "1700755200000",
        "nextFundingRate": "",
        "ts": "1700724675402",
    }
    assert PUBLIC.decode(push("funding-rate", row)) == [
        Funding("BTC-USDT-PERP", 1700724675402, "-0.0001875391284828", 1700726400000, 8)
    ]


def test_open_interest_is_in_coins_and_keeps_its_contracts() -> None:
    row = {
        "instId": "BTC-USDT-SWAP",
        "instType": "SWAP",
        "oi": "2216113.01",
        "oiCcy": "22161.1301",
        "ts": "1743041250440",
    }
    assert PUBLIC.decode(push("open-interest", row)) == [
        OpenInterest("BTC-USDT-PERP", 1743041250440, "22161.1301", "2216113.01")
    ]


def liquidations(instrument: str, **order: str) -> list[object]:
    detail = {"bkLoss": "0", "bkPx": "25000", "ccy": "", "side": "sell", "sz": "13", "ts": "1692266434010"}
    row = {"instFamily": "", "instId": instrument, "instType": "SWAP", "details": [detail | order]}
    frame = {"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [row]}
    return list(PUBLIC.decode(json.dumps(frame).encode()))


@pytest.mark.parametrize(
    ("order", "side"),
    [
        ({"posSide": "long", "side": "sell"}, "long"),
        ({"posSide": "short", "side": "buy"}, "short"),
        ({"posSide": "net", "side": "sell"}, "long"),
        ({"side": "buy"}, "short"),
    ],
)
def test_liquidation_names_the_position_and_is_sampled_at_the_bankruptcy_price(
    order: dict[str, str], side: str
) -> None:
    assert liquidations("BTC-USDT-SWAP", **order) == [
        Liquidation("BTC-USDT-PERP", side, "25000", "0.13", 1692266434010, "bankruptcy", sampled=True, native="13")
    ]


def test_liquidation_of_another_swap_is_passed_over() -> None:
    assert liquidations("IOST-USDT-SWAP") == []


@pytest.mark.parametrize(
    ("frame", "events"),
    [
        (b"pong", [Heartbeat()]),
        (
            b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a4d3ae55"}',
            [Ack(True, "subscribe books BTC-USDT")],
        ),
        (
            b'{"event":"error","code":"60012","msg":"Invalid request","connId":"a"}',
            [Ack(False, "60012 Invalid request")],
        ),
        (
            b'{"event":"notice","code":"64008","msg":"The connection will soon be closed. Please reconnect."}',
            [Goodbye("The connection will soon be closed. Please reconnect.")],
        ),
        (b'{"event":"channel-conn-count","channel":"orders","connCount":"2"}', [Unknown("event channel-conn-count")]),
        (push("books5", BOOK), [Unknown("books5")]),
        (push("trades-all", TRADE | {"instId": "XMR-USDT"}), [Unknown("symbol XMR-USDT")]),
        (push("books", BOOK, action="update").replace(b"BTC-USDT", b"XMR-USDT"), [Unknown("symbol XMR-USDT")]),
        (b"{}", [Unknown("without arg and event")]),
    ],
)
def test_other_messages_are_known_or_named(frame: bytes, events: list[object]) -> None:
    assert list(PUBLIC.decode(frame)) == events


@pytest.mark.parametrize(
    "frame",
    [
        b"pong!",
        b"",
        b'{"arg":{"channel":"books","instId":"BTC-USDT"}}',
        push("books", BOOK),
        push("books", BOOK, action="partial"),
        push("books", BOOK | {"bids": [["1"]]}, action="update"),
        push("books", BOOK | {"bids": [["1", "x", "0", "1"]]}, action="update"),
        push("books", BOOK | {"bids": [["", "1", "0", "1"]]}, action="update"),
        push("books", BOOK | {"bids": [["1.2.3", "1", "0", "1"]]}, action="update"),
        push("books", BOOK | {"bids": [[".", "1", "0", "1"]]}, action="update"),
        push("books", BOOK | {"bids": [["-1", "1", "0", "1"]]}, action="update"),
        push("books", BOOK | {"bids": [["1_0", "1", "0", "1"]]}, action="update"),
        push("books", BOOK | {"bids": [["\u0661", "1", "0", "1"]]}, action="update"),
        push("books", BOOK | {"bids": [["9" * 41, "1", "0", "1"]]}, action="update"),
        push("books", BOOK | {"bids": [[8476.97, 256, "0", "1"]]}, action="update"),
        push("books", BOOK | {"ts": "now"}, action="update"),
        push("books", BOOK | {"seqId": "1"}, action="update"),
        push("trades-all", TRADE | {"px": "nan"}),
        push("trades-all", TRADE | {"px": "0.0"}),
        push("trades-all", TRADE | {"sz": "-1"}),
        push("trades-all", TRADE | {"sz": " 1"}),
        push("trades-all", TRADE | {"side": "BUY"}),
        push("trades-all", TRADE | {"tradeId": "x"}),
        push("trades-all", TRADE | {"tradeId": "1", "count": "5"}),
        push("trades-all", TRADE | {"count": "0"}),
        push("trades-all", TRADE | {"ts": "1.5"}),
        push("trades-all", 7),
        tight({"arg": {"channel": "trades-all"}, "data": None}),
        tight({"arg": {"channel": "trades-all"}}),
        push("funding-rate", {"instId": "BTC-USDT-SWAP", "fundingRate": "high", "fundingTime": "1"}),
        push("open-interest", {"instId": "BTC-USDT-SWAP", "oi": "1", "oiCcy": "", "ts": "1"}),
        push("liquidation-orders", {"instId": "BTC-USDT-SWAP", "details": [{"side": "sell"}]}),
    ],
)
def test_malformed_message_of_our_channels_is_refused(frame: bytes) -> None:
    with pytest.raises(MalformedFrame, match=r"\w"):
        PUBLIC.decode(frame)


def test_subscriptions_are_split_over_the_two_connections() -> None:
    (public,) = (json.loads(frame)["args"] for frame in PUBLIC.subscribe())
    (business,) = (json.loads(frame)["args"] for frame in BUSINESS.subscribe())
    assert {argument["channel"] for argument in business} == {"trades-all"}
    assert {argument["channel"] for argument in public} == {
        "books",
        "funding-rate",
        "open-interest",
        "liquidation-orders",
    }
    assert {"channel": "liquidation-orders", "instType": "SWAP"} in public
    assert {"channel": "funding-rate", "instId": "BTC-USDT"} not in public
    assert len(business) == 6
    assert PUBLIC.ping is not None
    assert (PUBLIC.ping.frame, PUBLIC.ping.seconds < 30) == (b"ping", True)


def test_fresh_snapshot_is_asked_for_by_leaving_the_book_and_coming_back() -> None:
    book = next(stream for stream in PUBLIC.streams if stream.channel == Channel.BOOK)
    assert [json.loads(frame) for frame in PUBLIC.resubscribe(book)] == [
        {"op": op, "args": [{"channel": "books", "instId": "BTC-USDT"}]} for op in ("unsubscribe", "subscribe")
    ]
