"""The revisions of a hole."""

from __future__ import annotations

import pytest

from coinswarm.ticks.gaps import Gap, GapReason, Gaps
from coinswarm.ticks.integrity import Hole
from coinswarm.ticks.liveness import Pulse, Watch

pytestmark = pytest.mark.unit

TRADES = ("kraken", "BTC-USD", "trades")


def _gaps() -> tuple[Gaps, list[Gap]]:
    told: list[Gap] = []
    return Gaps(told.append), told


def test_hole_is_told_with_its_numbers_and_closes_as_they_come_late() -> None:
    gaps, told = _gaps()
    gaps.hole(*TRADES, GapReason.SEQUENCE, Hole(10, 19), 1000, 2000)
    assert (told[0].first_missing, told[0].last_missing, told[0].missing, told[0].state) == ("10", "19", 10, "open")
    assert (told[0].opened_ms, told[0].closed_ms) == (1000, 2000)
    gaps.fill("kraken", "BTC-USD", [Hole(12, 15)])
    assert (told[1].revision, told[1].repaired, told[1].state) == (2, 6, "partly_repaired")
    gaps.fill("kraken", "BTC-USD", [Hole(12, 15), Hole(30, 31)])
    assert len(told) == 2, "nothing changed"
    gaps.fill("kraken", "BTC-USD", [])
    assert (told[2].revision, told[2].repaired, told[2].state) == (3, 10, "repaired")
    assert {gap.gap_id for gap in told} == {told[0].gap_id}
    assert gaps.open == 0


def test_hole_that_nobody_watches_any_more_is_never_said_to_be_repaired() -> None:
    gaps, told = _gaps()
    for first in (10, 30):
        gaps.hole(*TRADES, GapReason.SEQUENCE, Hole(first, first + 9), 1000, 2000)
    gaps.fill("kraken", "BTC-USD", [Hole(10, 19), Hole(30, 39)])
    gaps.give_up("kraken", "BTC-USD", [Hole(10, 19)])
    closed = gaps.fill("kraken", "BTC-USD", [])
    assert [gap.first_missing for gap in closed] == ["30"]
    assert [gap.first_missing for gap in told if gap.repaired] == ["30"]


def test_gaps_that_run_when_the_pump_ends_end_with_it_but_for_trades() -> None:
    gaps, told = _gaps()
    for channel in ("orderbook", "liquidations", "trades"):
        gaps.begin("kraken", "BTC-USD", channel, GapReason.DISCONNECT, 1)
    gaps.end_all(7)
    assert [(gap.channel, gap.closed_ms, gap.missing) for gap in told[3:]] == [
        ("orderbook", 7, None),
        ("liquidations", 7, None),
    ]


def test_stopped_stream_is_one_gap_whatever_happens_meanwhile() -> None:
    gaps, told = _gaps()
    gaps.begin(*TRADES, GapReason.SILENCE, 5000)
    gaps.begin(*TRADES, GapReason.DISCONNECT, 6000)
    assert gaps.open == 1
    gaps.end(*TRADES, 4000, Hole(3, 4), numbered=True)
    assert [(gap.reason, gap.revision, gap.closed_ms, gap.missing) for gap in told] == [
        ("silence", 1, None, None),
        ("silence", 2, 5000, 2),
    ]
    gaps.end(*TRADES, 7000, None, numbered=True)
    assert len(told) == 2


def test_numbered_stream_without_a_hole_missed_nothing_and_others_cannot_tell() -> None:
    gaps, told = _gaps()
    gaps.begin(*TRADES, GapReason.DISCONNECT, 1)
    gaps.end(*TRADES, 2, None, numbered=True)
    assert (told[-1].missing, told[-1].state) == (0, "repaired")
    gaps.begin("kraken", "BTC-USD", "orderbook", GapReason.DISCONNECT, 1)
    gaps.end("kraken", "BTC-USD", "orderbook", 2, None, numbered=False)
    assert (told[-1].missing, told[-1].state, told[-1].closed_ms) == (None, "open", 2)


def test_silent_stream_is_asked_about_and_frozen_within_twice_its_interval() -> None:
    watch = Watch(quiet_ms=10_000)
    assert watch.judge(0, 9_999) is Pulse.ALIVE
    assert watch.judge(0, 10_000) is Pulse.QUIET
    assert watch.judge(0, 15_000) is Pulse.FROZEN
    assert watch.should_ask(20_000)
    assert not watch.should_ask(21_000)
    assert Watch(quiet_ms=0).judge(0, 10**9) is Pulse.ALIVE


def test_stream_that_stays_silent_after_a_reconnect_is_given_more_time() -> None:
    watch = Watch(quiet_ms=10_000)
    for _ in range(10):
        watch.reconnected()
    assert watch.patience == 16
    assert watch.judge(0, 159_000) is Pulse.ALIVE
    watch.heard(1)
    assert watch.judge(0, 15_000) is Pulse.FROZEN
