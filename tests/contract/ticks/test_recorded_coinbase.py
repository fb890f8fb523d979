"""Recordings of Coinbase, Advanced and the older Exchange, against what their manifest states."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.contract.ticks.recorded import captured, framed, replay
from tests.support import RECORDED, needs_recordings

from coinswarm.ticks.model import BookUpdate, Heartbeat, Sequence, Trade, Unknown
from coinswarm.ticks.protocol import Step
from coinswarm.ticks.venues import coinbase, legacy_coinbase

pytestmark = [pytest.mark.contract, needs_recordings]

CAPTURE = "coinbase_exchange__ws_capture__1.txt.gz"
FRAMES = "coinbase_exchange__ws_frames_msgparser__1.jsonl"
ADVANCED = "coinbase_advanced__ws_frames__1.jsonl"
SNAPSHOT = "coinbase_advanced__depth_snapshot__1.json"


def test_capture_when_replayed_then_counts_and_tops_are_those_of_the_manifest() -> None:
    outcome = replay(legacy_coinbase.connections("spot", None)[0], captured(CAPTURE))
    assert outcome.malformed == []
    assert outcome.kinds == {
        "BookUpdate": 4147 + 5,
        "Unknown ticker without sizes": 33,
        "Trade": 28 + 5,
        "Ack": 3,
    }
    assert outcome.steps == {Step.APPLY: 4152}
    assert outcome.crossed == 0
    assert outcome.tops() == {
        "BAND-BTC": (("0.00033388", "0.92"), ("0.00033421", "36.83")),
        "BAND-GBP": (("14.7366", "27.57"), ("14.7664", "12.00")),
        "CRV-EUR": (("3.2956", "96.95"), ("3.3010", "97.66")),
        "DASH-BTC": (("0.00619316", "1.68700000"), ("0.00619947", "28.99700000")),
        "NU-GBP": (("0.4388", "242.890000"), ("0.4393", "8208.213533")),
    }


def test_capture_when_read_by_another_reader_then_trades_are_those_and_the_taker_is_the_one_of_the_ticker() -> None:
    kinds: Counter[str] = Counter()
    trades = []
    takers = {}
    for frame in captured(CAPTURE):
        message = json.loads(frame)
        kinds[message["type"]] += 1
        if message["type"] in ("match", "last_match"):
            trades.append((message["product_id"], str(message["trade_id"]), message["price"], message["size"]))
        elif message["type"] == "ticker":
            takers[message["product_id"], str(message["trade_id"])] = message["side"]
    assert kinds == {"l2update": 4147, "ticker": 33, "match": 28, "snapshot": 5, "last_match": 5, "subscriptions": 3}
    outcome = replay(legacy_coinbase.connections("spot", None)[0], captured(CAPTURE))
    assert [(trade.symbol, trade.id, trade.price, trade.size) for trade in outcome.trades] == trades
    # The venue says it twice: a match by the maker, a ticker by the taker.
    sides = {(trade.symbol, trade.id): trade.side for trade in outcome.trades}
    both = takers.keys() & sides.keys()
    assert len(both) >= 25
    assert {key: sides[key] for key in both} == {key: takers[key] for key in both}


def test_frames_of_the_exchange_when_decoded_then_each_is_what_its_label_says() -> None:
    (venue,) = legacy_coinbase.connections("spot", None)
    ours = {"trade": Trade, "l2_orderbook_snapshot": BookUpdate, "l2_orderbook_update": BookUpdate}
    seen = 0
    for label, frame in framed(FRAMES):
        seen += 1
        assert [type(event) for event in venue.decode(frame)] == [ours.get(label, Unknown)], label
    assert seen == 6


def test_frames_of_advanced_when_decoded_then_trades_are_in_order_and_the_taker_did_the_opposite() -> None:
    (venue,) = coinbase.connections("spot", None)
    lines = (RECORDED / ADVANCED).read_bytes().splitlines()
    trades, beat = (list(venue.decode(line)) for line in lines)
    assert trades == [
        Sequence(2),
        Trade("ETH-USDT", "2375.56", "0.5", "sell", 1728026011084, "22381690", 22381690, 22381690),
        Trade("ETH-USDT", "2375.56", "0.5", "sell", 1728026011088, "22381691", 22381691, 22381691),
    ]
    assert beat == [Sequence(1), Heartbeat(66987)]


def test_snapshot_over_rest_when_decoded_then_its_best_prices_are_those_of_the_manifest() -> None:
    (venue,) = coinbase.connections("spot", None)
    body = (RECORDED / SNAPSHOT).read_bytes()
    assert venue.decode_snapshot("ETH-USDT", body) == BookUpdate(
        "ETH-USDT", True, [("2452.77", "0.32700476")], [("2453.62", "0.38")], 1727868152748
    )
