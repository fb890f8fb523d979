"""Recordings of Deribit, against what their manifest states."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from tests.contract.ticks.recorded import captured, framed, replay
from tests.support import RECORDED, needs_recordings

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.model import BookUpdate, Funding, OpenInterest, OptionTick, Trade, Unknown
from coinswarm.ticks.protocol import Step
from coinswarm.ticks.venues import deribit

pytestmark = [pytest.mark.contract, needs_recordings]

CAPTURE = "deribit__ws_capture__1.txt"
FRAMES = "deribit__ws_frames_msgparser__1.jsonl"
TRADES = "deribit__ws_trades__1.jsonl"


def test_capture_when_replayed_then_counts_are_those_of_the_manifest_and_the_chains_hold() -> None:
    outcome = replay(deribit.connections("perpetual", None)[0], captured(CAPTURE))
    assert outcome.malformed == []
    assert outcome.kinds == {"OptionTick": 31, "BookUpdate": 10, "Ack": 1}
    assert outcome.steps == {Step.APPLY: 10}
    assert outcome.crossed == 0
    assert len(outcome.books) == 5


def test_books_of_the_capture_when_replayed_then_they_equal_the_last_ticker_of_each_option() -> None:
    # The manifest states no top of book; the venue's own tickers in the same capture do.
    tickers = {}
    for frame in captured(CAPTURE):
        message = json.loads(frame, parse_float=str)
        if message.get("params", {}).get("channel", "").startswith("ticker."):
            tickers[message["params"]["data"]["instrument_name"]] = message["params"]["data"]
    outcome = replay(deribit.connections("perpetual", None)[0], captured(CAPTURE))
    compared = 0
    for symbol, top in outcome.tops().items():
        if top is not None:
            compared += 1
            ticker = tickers[symbol]
            assert top == (
                (ticker["best_bid_price"], ticker["best_bid_amount"]),
                (ticker["best_ask_price"], ticker["best_ask_amount"]),
            ), symbol
    assert compared == 4


def test_options_of_the_capture_when_decoded_then_volatilities_are_percent_and_exact() -> None:
    outcome = replay(deribit.connections("perpetual", None)[0], captured(CAPTURE))
    option = next(event for event in outcome.events if isinstance(event, OptionTick))
    assert (option.symbol, option.asset, option.ts) == ("ETH-23JUL21-2300-C", "ETH", 1626993723632)
    assert (option.mark_iv, option.mark, option.underlying, option.open_interest) == (
        "111.4",
        "0.000001",
        "2005.38",
        "3709.0",
    )


def test_frames_when_decoded_then_each_is_what_its_label_says_and_none_is_malformed() -> None:
    ours = {"trade": {Trade}, "l2_event": {BookUpdate}, "l2_topk": {BookUpdate}}
    tickers = {"ticker::inverse_future": {OpenInterest}, "ticker::inverse_swap": {Funding, OpenInterest}}
    (venue,) = deribit.connections("perpetual", None)
    kinds: Counter[str] = Counter()
    for label, frame in framed(FRAMES):
        kind = label.partition("::")[0]
        kinds[kind] += 1
        expected = {OptionTick} if label == "ticker::option" else tickers.get(label, ours.get(kind, {Unknown}))
        assert {type(event) for event in venue.decode(frame)} == expected, label
    assert kinds.total() == 26


def test_trades_of_2025_when_decoded_then_dollars_become_coins_and_stay_exact() -> None:
    (venue,) = deribit.connections("perpetual", list(INSTRUMENTS))
    frames = (RECORDED / TRADES).read_bytes().splitlines()
    trades = [event for line in frames if line.strip() for event in venue.decode(line)]
    assert [[trade.price, trade.native, trade.side] for trade in trades] == [
        ["84295.5", "8430.0", "buy"],
        ["84319.0", "580.0", "sell"],
    ]
    # 8430 / 84295.5 and 580 / 84319, by bc.
    assert [trade.size for trade in trades] == ["0.100005338363", "0.006878639453"]
    assert {trade.symbol for trade in trades} == {"BTC-USD-PERP"}
