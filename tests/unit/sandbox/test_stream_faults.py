"""What stream faults do to messages on their way to the wire."""

from __future__ import annotations

import json

import pytest

from coinswarm.sandbox.protocol import Call
from coinswarm.sandbox.server import build
from coinswarm.sandbox.streams import faults as stream_faults
from coinswarm.sandbox.streams.faults import KINDS, Delivery, StreamFault, StreamFaults
from coinswarm.sandbox.streams.session import Message

pytestmark = pytest.mark.unit

HOST, PATH = "ws.okx.com:8443", "/ws/v5/public"


class Wire:
    """Remembers what was done."""

    def __init__(self) -> None:
        self.done: list[tuple[str, bytes]] = []

    def send(self, message: Message) -> None:
        self.done.append(("sent", message.payload))

    def send_half(self, message: Message) -> None:
        self.done.append(("half", message.payload))

    def drip(self, message: Message, bytes_per_second: int) -> None:
        self.done.append((f"dripped at {bytes_per_second}", message.payload))

    def close(self, code: int) -> None:
        self.done.append((f"closed {code}", b""))


class Time:
    now = 1000.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Time:
    moment = Time()
    monkeypatch.setattr(stream_faults, "monotonic", lambda: moment.now)
    return moment


def setup(*rules: StreamFault) -> tuple[StreamFaults, Delivery, Wire]:
    faults, wire = StreamFaults(5), Wire()
    for rule in rules:
        faults.add(rule)
    return faults, Delivery(faults, HOST, PATH, wire), wire


def message(text: str, channel: str = "trades", symbol: str = "BTC-USDT") -> Message:
    return Message(text.encode(), channel, symbol)


def through(*rules: StreamFault, count: int = 4) -> list[tuple[str, bytes]]:
    _, delivery, wire = setup(*rules)
    for number in range(count):
        delivery.deliver(message(str(number)))
    return wire.done


def sent(*texts: str) -> list[tuple[str, bytes]]:
    return [("sent", text.encode()) for text in texts]


def test_message_when_there_is_no_rule_then_it_passes() -> None:
    assert through() == sent("0", "1", "2", "3")


def test_drop_when_counted_then_that_many_vanish() -> None:
    assert through(StreamFault("drop", count=2)) == sent("2", "3")


def test_duplicate_when_it_strikes_then_the_message_comes_twice() -> None:
    assert through(StreamFault("duplicate", count=1)) == sent("0", "0", "1", "2", "3")


def test_reorder_when_it_strikes_then_the_message_follows_the_next_of_its_stream() -> None:
    _, delivery, wire = setup(StreamFault("reorder", count=1))
    delivery.deliver(message("first"))
    delivery.deliver(message("other", symbol="ETH-USDT"))
    delivery.deliver(message("second"))
    assert wire.done == sent("other", "second", "first")


def test_cut_drip_and_disconnect_when_they_strike_then_the_wire_does_them() -> None:
    assert through(StreamFault("cut", count=1), count=1) == [("half", b"0")]
    assert through(StreamFault("drip", count=1, bytes_per_second=7), count=2) == [("dripped at 7", b"0"), *sent("1")]
    assert through(StreamFault("disconnect", count=1, code=1012), count=1) == [("closed 1012", b"")]


def test_bad_checksum_when_there_is_one_then_it_differs_and_nothing_else_is_counted() -> None:
    _, delivery, wire = setup(StreamFault("bad_checksum", count=1))
    delivery.deliver(message('{"no":1}'))
    delivery.deliver(message('{"checksum":77,"x":77}'))
    delivery.deliver(message('{"checksum":77}'))
    assert [json.loads(payload) for _, payload in wire.done] == [
        {"no": 1},
        {"checksum": 76, "x": 77},
        {"checksum": 77},
    ]


def test_freeze_when_its_seconds_are_over_then_the_stream_goes_on(clock: Time) -> None:
    _, delivery, wire = setup(StreamFault("freeze", channel="trades", seconds=10, after=5))
    for number in range(20):
        clock.now = 1000.0 + number
        delivery.deliver(message(str(number)))
        delivery.deliver(message("book", channel="orderbook"))
        delivery.deliver(Message(b"ack"))
    assert [text for _, text in wire.done if text.isdigit()] == [str(n).encode() for n in (*range(5), *range(15, 20))]
    assert wire.done.count(("sent", b"book")) == wire.done.count(("sent", b"ack")) == 20


def test_wrong_path_when_the_rule_is_gone_then_the_stream_stays_silent() -> None:
    faults, delivery, wire = setup(StreamFault("wrong_path", count=1, symbol="BTC-*"))
    delivery.deliver(message("0"))
    faults.clear()
    delivery.deliver(message("1"))
    delivery.deliver(message("2", symbol="ETH-USDT"))
    assert wire.done == sent("2")


def test_flood_when_the_hold_is_over_then_everything_comes_at_once_in_order(clock: Time) -> None:
    _, delivery, wire = setup(StreamFault("flood", count=1, hold=3, factor=2))
    delivery.deliver(message("0"))
    delivery.deliver(message("1", channel="ticker"))
    delivery.deliver(Message(b"ack"))
    clock.now += 2.9
    delivery.release()
    assert wire.done == sent("ack")
    clock.now += 0.2
    delivery.release()
    assert wire.done == sent("ack", "0", "1", "1")
    delivery.deliver(message("2"))
    assert wire.done[-1] == ("sent", b"2")


def test_rule_when_patterns_do_not_fit_then_it_does_not_strike() -> None:
    for rule in (
        StreamFault("drop", host="*.kraken.com"),
        StreamFault("drop", path="*/business"),
        StreamFault("drop", channel="orderbook"),
        StreamFault("drop", symbol="ETH-*"),
        StreamFault("drop", count=0),
        StreamFault("drop", probability=0),
    ):
        assert through(rule, count=2) == sent("0", "1")
    assert through(StreamFault("drop", host="*.okx.com*", path="*/public", channel="trades", symbol="BTC-*")) == []


def test_rule_when_probable_then_a_seed_repeats_it() -> None:
    first = through(StreamFault("drop", probability=0.3), count=300)
    assert first == through(StreamFault("drop", probability=0.3), count=300)
    assert 150 < len(first) < 260


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "meteor"},
        {"kind": "drop", "colour": "red"},
        {"kind": "drop", "probability": 2},
        {"kind": "flood", "hold": 500},
        {"kind": "flood", "factor": 0},
        {"kind": "drip", "bytes_per_second": 0},
        {},
    ],
)
def test_control_when_a_rule_is_wrong_then_400_says_why(fields: dict[str, object]) -> None:
    sandbox = build("simulate")
    reply, _ = sandbox.answer(Call("_control", "/stream_faults", method="POST", body=json.dumps(fields).encode()))
    assert reply.status == 400
    assert json.loads(reply.body)["error"]


def test_control_when_rules_are_added_then_they_are_listed_until_deleted() -> None:
    sandbox = build("simulate", stream_faults=[StreamFault("drop", count=3)])
    body = json.dumps([{"kind": kind} for kind in KINDS]).encode()
    sandbox.answer(Call("_control", "/stream_faults", method="POST", body=body))
    state = json.loads(sandbox.answer(Call("_control", "/state"))[0].body)
    assert [rule["kind"] for rule in state["stream_faults"]] == ["drop", *KINDS]
    sandbox.answer(Call("_control", "/stream_faults", method="DELETE"))
    assert json.loads(sandbox.answer(Call("_control", "/state"))[0].body)["stream_faults"] == []


def test_control_when_ticks_of_nothing_are_asked_then_400_says_why() -> None:
    sandbox = build("simulate")
    for query in ({}, {"host": "nowhere.com", "symbol": "X"}, {"host": "api.binance.com", "symbol": "NOPE"}):
        assert sandbox.answer(Call("_control", "/ticks", query))[0].status == 400
    wrong = {"host": "api.binance.com", "symbol": "BTCUSDT", "start": "yesterday"}
    assert sandbox.answer(Call("_control", "/ticks", wrong))[0].status == 400


def test_rate_when_out_of_range_then_it_is_refused() -> None:
    for rate in (0, -1, 1e6, float("nan")):
        with pytest.raises(ValueError, match="tick rate"):
            build("simulate", tick_rate=rate)
