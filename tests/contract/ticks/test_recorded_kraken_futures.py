"""Recordings of Kraken Futures, against what their manifest states."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.contract.ticks.recorded import captured, framed, replay
from tests.support import needs_recordings

from coinswarm.ticks.model import BookUpdate, Funding, OpenInterest, Trade, Unknown
from coinswarm.ticks.protocol import Step
from coinswarm.ticks.venues import kraken_futures

pytestmark = [pytest.mark.contract, needs_recordings]

CAPTURE = "kraken_futures__ws_capture__1.txt.gz"
FRAMES = "kraken__ws_frames_msgparser__1.jsonl"


def test_capture_when_replayed_then_no_gap_and_the_tops_of_the_manifest() -> None:
    (venue,) = kraken_futures.connections("futures", None)
    outcome = replay(venue, captured(CAPTURE))
    assert outcome.malformed == []
    # The manifest counts by feed, acknowledgements too: ten of each of three feeds.
    assert outcome.kinds == {"BookUpdate": 2064 - 10 + 5, "Unknown ticker_lite": 60 - 10, "Ack": 30, "Trade": 501}
    assert outcome.steps == {Step.APPLY: 2059}
    assert outcome.crossed == 0
    assert outcome.tops() == {
        "FI_BCHUSD_210730": (("439.3", "20108.0"), ("439.8", "50.0")),
        "FI_BCHUSD_210924": (("441.1", "25401.0"), ("441.8", "50.0")),
        "FI_ETHUSD_210730": (("1999.6", "600.0"), ("2001.45", "110583.0")),
        "FI_XBTUSD_210730": (("32183.0", "50.0"), ("32200.5", "1200.0")),
        "FI_XBTUSD_210924": (("32207.0", "50.0"), ("32225.0", "1.0")),
    }


def test_capture_when_counted_by_another_reader_then_feeds_and_trades_are_those() -> None:
    feeds: Counter[str] = Counter()
    trades: Counter[tuple[str, str]] = Counter()
    for frame in captured(CAPTURE):
        message = json.loads(frame)
        feeds[message.get("feed", message.get("event"))] += 1
        if "event" not in message and message["feed"] in ("trade", "trade_snapshot"):
            trades.update((row["product_id"], row["uid"]) for row in message.get("trades", [message]))
    assert feeds == {"book": 2064, "ticker_lite": 60, "trade": 11, "book_snapshot": 5, "trade_snapshot": 5, "info": 1}
    outcome = replay(kraken_futures.connections("futures", None)[0], captured(CAPTURE))
    assert Counter((trade.symbol, trade.id) for trade in outcome.trades) == trades


def test_trades_of_the_capture_when_decoded_then_their_numbers_are_consecutive_per_product() -> None:
    outcome = replay(kraken_futures.connections("futures", None)[0], captured(CAPTURE))
    last: dict[str, int] = {}
    for trade in outcome.trades:
        assert trade.first == trade.last == last.get(trade.symbol, trade.first - 1) + 1
        last[trade.symbol] = trade.last
    assert len(last) == 5


def test_frames_of_futures_when_decoded_then_each_is_what_its_label_says() -> None:
    (venue,) = kraken_futures.connections("futures", None)
    expected = {
        "trade::inverse_swap_snapshot": [Trade, Trade],
        "trade::inverse_swap_update": [Trade],
        "trade::inverse_future_snapshot": [Trade, Trade],
        "trade::inverse_future_update": [Trade],
        "l2_event::inverse_swap_snapshot": [BookUpdate],
        "l2_event::inverse_swap_update": [BookUpdate],
        "l2_event::inverse_future_snapshot": [BookUpdate],
        "l2_event::inverse_future_update": [BookUpdate],
        "ticker::inverse_swap": [Funding, OpenInterest],
        "ticker::inverse_future": [OpenInterest],
        "l2_snapshot::inverse_swap": [Unknown],
        "l2_snapshot::inverse_future": [Unknown],
    }
    seen = {}
    for label, frame in framed(FRAMES):
        if "inverse" in label:
            seen[label] = [type(event) for event in venue.decode(frame)]
    assert seen == expected


def test_ticker_when_its_rate_has_an_exponent_then_the_rate_is_plain_and_exact() -> None:
    (venue,) = kraken_futures.connections("futures", None)
    frame = next(frame for label, frame in framed(FRAMES) if label == "ticker::inverse_swap")
    funding, open_interest = venue.decode(frame)
    # In the frame: 9.6321875e-8.
    assert funding == Funding("PI_XBTUSD", 1654164951042, "0.000000096321875", 1654171200000, 1, "29919.75", "29927.42")
    assert open_interest == OpenInterest("PI_XBTUSD", 1654164951042, "43967525.0")
