"""Recordings of Kraken's retired v1 protocol, against what their manifest states."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.contract.ticks.recorded import captured, framed, replay
from tests.support import needs_recordings

from coinswarm.ticks.model import BookUpdate, Trade, Unknown
from coinswarm.ticks.venues import legacy_kraken

pytestmark = [pytest.mark.contract, needs_recordings]

CAPTURE = "kraken__ws_capture__1.txt.gz"
FRAMES = "kraken__ws_frames_msgparser__1.jsonl"


def test_capture_when_replayed_then_counts_checksums_and_tops_are_those_of_the_manifest() -> None:
    (venue,) = legacy_kraken.connections("spot", None)
    outcome = replay(venue, captured(CAPTURE))
    assert outcome.malformed == []
    assert outcome.kinds == {"BookUpdate": 2040, "Heartbeat": 92, "Ack": 15, "Unknown ticker": 10, "Trade": 6}
    assert (outcome.matching, outcome.failing, outcome.crossed) == (2035, 0, 0)
    assert outcome.tops() == {
        "GRT/ETH": (("0.000833500", "506.69981876"), ("0.000836200", "3304.00414043")),
        "KSM/XBT": (("0.00756000", "0.21000000"), ("0.00756600", "2.18142427")),
        "OMG/USD": (("9.586075", "200.00000000"), ("9.604799", "200.00000000")),
        "SC/EUR": (("0.043070", "5794.10440061"), ("0.043170", "20000.00000000")),
        "XBT/CHF": (("56060.30000", "0.05804973"), ("56194.20000", "0.01700000")),
    }


def test_capture_when_counted_by_another_reader_then_no_trade_or_book_is_missing() -> None:
    channels: Counter[str] = Counter()
    trades = []
    for frame in captured(CAPTURE):
        message = json.loads(frame)
        if isinstance(message, dict):
            channels[message["event"]] += 1
            continue
        channels[message[-2]] += 1
        if message[-2] == "trade":
            trades += [(message[-1], *row[:2], {"b": "buy", "s": "sell"}[row[3]]) for row in message[1]]
    assert channels == {
        "book-1000": 2040,
        "heartbeat": 92,
        "subscriptionStatus": 15,
        "ticker": 10,
        "trade": 5,
        "systemStatus": 3,
    }
    outcome = replay(legacy_kraken.connections("spot", None)[0], captured(CAPTURE))
    assert [(trade.symbol, trade.price, trade.size, trade.side) for trade in outcome.trades] == trades


def test_frames_of_spot_when_decoded_then_each_is_what_its_label_says() -> None:
    (venue,) = legacy_kraken.connections("spot", None)
    expected = {"trade": Trade, "l2_event": BookUpdate}
    seen = 0
    for label, frame in framed(FRAMES):
        kind, _, market = label.partition("::")
        if not market.startswith("spot"):
            continue
        seen += 1
        assert [type(event) for event in venue.decode(frame)] == [expected.get(kind, Unknown)], label
    assert seen == 9


def test_frame_with_two_parts_when_decoded_then_both_sides_and_the_checksum_are_one_update() -> None:
    (venue,) = legacy_kraken.connections("spot", None)
    frame = next(frame for label, frame in framed(FRAMES) if b'},{"b"' in frame)
    (update,) = venue.decode(frame)
    assert update == BookUpdate(
        "XBT/USD",
        False,
        [("38800.00000", "0.03017320")],
        [("38800.00000", "0.02203518")],
        1622766170577,
        checksum=2479000840,
    )
