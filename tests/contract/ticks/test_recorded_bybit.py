"""Recordings of Bybit, v5 and the retired v2, against what their manifest states."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.contract.ticks.recorded import captured, framed, replay
from tests.support import RECORDED, needs_recordings

from coinswarm.ticks.model import BookUpdate, Funding, Trade, Unknown
from coinswarm.ticks.protocol import Step
from coinswarm.ticks.venues import bybit, legacy_bybit

pytestmark = [pytest.mark.contract, needs_recordings]

CAPTURE = "bybit_v2__ws_capture__1.txt.gz"
FRAMES = "bybit_v2__ws_frames_msgparser__1.jsonl"
TICKERS = "bybit__ws_tickers__1.jsonl"


def test_capture_when_replayed_then_counts_and_tops_are_those_of_the_manifest() -> None:
    outcome = replay(legacy_bybit.connections("linear", None)[0], captured(CAPTURE))
    assert outcome.malformed == []
    # The 89 frames of trades hold 164.
    assert outcome.kinds == {"BookUpdate": 1981 + 5, "Trade": 164, "Ack": 20}
    assert outcome.steps == {Step.APPLY: 1986}
    assert outcome.crossed == 0
    assert outcome.tops() == {
        "ADAUSDT": (("1.3875", "78351"), ("1.3876", "501")),
        "BCHUSDT": (("1056.25", "24.33"), ("1056.30", "35.5")),
        "BTCUSD": (("60622.50", "12836512"), ("60623.00", "1656505")),
        "DOTUSDT": (("43.615", "202"), ("43.620", "679.9")),
        "UNIUSDT": (("35.418", "3890.9"), ("35.419", "0.1")),
    }
    # The venue keeps 25 levels a side, and tells of each that falls out.
    assert {symbol: len(book) for symbol, book in outcome.books.items()} == dict.fromkeys(outcome.books, 50)


def test_capture_when_counted_by_another_reader_then_no_trade_is_missing_or_another() -> None:
    kinds: Counter[str] = Counter()
    trades = []
    for frame in captured(CAPTURE):
        message = json.loads(frame, parse_float=str, parse_int=str)
        topic = message.get("topic", "ack").partition(".")[0]
        kinds[f"{topic} {message.get('type', '')}".strip()] += 1
        if topic == "trade":
            trades += [
                (row["symbol"], row["price"], row["size"], row["side"].lower(), int(row["trade_time_ms"]))
                for row in message["data"]
            ]
    assert kinds == {"orderBookL2_25 delta": 1981, "trade": 89, "ack": 20, "orderBookL2_25 snapshot": 5}
    outcome = replay(legacy_bybit.connections("linear", None)[0], captured(CAPTURE))
    assert [(trade.symbol, trade.price, trade.size, trade.side, trade.ts) for trade in outcome.trades] == trades


def test_frames_when_decoded_then_each_is_what_its_label_says() -> None:
    (venue,) = legacy_bybit.connections("linear", None)
    ours = {"trade": Trade, "l2_orderbook": BookUpdate}
    seen = 0
    for label, frame in framed(FRAMES):
        seen += 1
        kinds = {type(event) for event in venue.decode(frame)}
        assert kinds == {ours.get(label.partition("::")[0], Unknown)}, label
    assert seen == 23


def test_tickers_when_decoded_then_a_delta_says_what_has_changed_and_nothing_else() -> None:
    (venue,) = bybit.connections("linear", None)
    spot, option, linear, delta, usdc, silent, inverse, quiet = (
        list(venue.decode(line)) for line in (RECORDED / TICKERS).read_bytes().splitlines()
    )
    assert spot == []
    assert option == [Unknown("tickers of an option")]
    assert linear == [Funding("BTCUSDT", 1715748762463, "0.00008055", 1715760000000, -1, "61875.25", "61903.73")]
    assert delta == [Funding("BTCUSDT", 1715748763063, mark="61875.06", index="61903.59")]
    assert usdc == [Funding("BTCPERP", 1715756612118, "0.00004979", 1715760000000, -1, "61943.58", "61942.85")]
    assert inverse == [Funding("BTCUSD", 1715757637952, "0.0001", 1715760000000, -1, "61894.00", "61923.36")]
    # Best prices only. None of them says `singleOpenInterest`: in 2024 there was no such field.
    assert silent == quiet == []
