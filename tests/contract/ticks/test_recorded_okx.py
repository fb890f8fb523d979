"""Recordings of OKX, against what their manifest states. Those of 2022 still have checksums, and no sequence yet."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.contract.ticks.recorded import captured, framed, replay
from tests.support import RECORDED, needs_recordings

from coinswarm.ticks.model import BookUpdate, Funding, Trade, Unknown
from coinswarm.ticks.protocol import Step
from coinswarm.ticks.venues import okx

pytestmark = [pytest.mark.contract, needs_recordings]

CAPTURE = "okx__ws_capture__1.txt"
FRAMES = "okx__ws_frames_msgparser__1.jsonl"
TRADES = "okx__ws_trades__1.jsonl"


def test_capture_when_replayed_then_all_99_checksums_match_and_the_top_is_that_of_the_manifest() -> None:
    outcome = replay(okx.connections("swap", None)[0], captured(CAPTURE))
    assert outcome.malformed == []
    assert outcome.kinds == {"BookUpdate": 98 + 1, "Ack": 6, "Trade": 4, "Unknown tickers": 2}
    assert (outcome.matching, outcome.failing, outcome.crossed) == (99, 0, 0)
    assert outcome.steps == {Step.APPLY: 99}
    assert outcome.tops() == {"BTC-USD-220527": (("30229.4", "2"), ("30238.8", "3"))}


def test_capture_when_counted_by_another_reader_then_channels_and_trades_are_those() -> None:
    channels: Counter[str] = Counter()
    trades = []
    for frame in captured(CAPTURE):
        message = json.loads(frame)
        if "event" in message:
            channels[message["event"]] += 1
            continue
        channels[message["arg"]["channel"] + message.get("action", "")] += 1
        if message["arg"]["channel"] == "trades":
            trades += [(row["tradeId"], row["px"], row["sz"], row["side"], int(row["ts"])) for row in message["data"]]
    assert channels == {"booksupdate": 98, "subscribe": 6, "trades": 4, "tickers": 2, "bookssnapshot": 1}
    outcome = replay(okx.connections("swap", None)[0], captured(CAPTURE))
    assert [(trade.id, trade.price, trade.size, trade.side, trade.ts) for trade in outcome.trades] == trades


def test_frames_when_decoded_then_each_is_what_its_label_says_and_none_is_malformed() -> None:
    ours = {"trade": Trade, "l2_event": BookUpdate, "funding_rate": Funding}
    venue = okx.connections("spot", None)[0]
    seen = 0
    for label, frame in framed(FRAMES):
        seen += 1
        assert [type(event) for event in venue.decode(frame)] == [ours.get(label.partition("::")[0], Unknown)], label
    assert seen == 50


def test_trades_of_2025_when_decoded_then_price_size_and_side_are_those_of_the_manifest() -> None:
    venue = okx.connections("spot", None)[1]
    trades = [
        event for line in (RECORDED / TRADES).read_bytes().splitlines() for event in venue.decode(line) if line.strip()
    ]
    assert [[trade.price, trade.size, trade.side] for trade in trades] == [
        ["95634.9", "0.00011186", "buy"],
        ["95635.3", "0.00011194", "sell"],
    ]
    assert [(trade.first, trade.last) for trade in trades] == [(674510826, 674510826), (674510827, 674510827)]
