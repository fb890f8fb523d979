"""Continuity of trades: whatever order the venue's numbers come in, each is new once and every hole is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.ticks.integrity import DUPLICATE, MAX_HOLES, NEW, REWIND, Continuity, Hole, Recent

pytestmark = pytest.mark.unit


def test_continuity_without_trouble_says_new() -> None:
    trades = Continuity()
    assert [trades.check(number, number) for number in (7, 8, 9)] == [NEW] * 3
    assert trades.last == 9
    assert trades.holes == ()


def test_continuity_before_the_first_trade_has_no_last() -> None:
    assert Continuity().last == -1


def test_continuity_names_what_is_missing_and_takes_the_trade_that_showed_it() -> None:
    trades = Continuity()
    trades.check(100, 100)
    hole = trades.check(104, 104)
    assert hole == Hole(101, 103)
    assert isinstance(hole, Hole)
    assert hole.size == 3
    assert trades.check(104, 104) is DUPLICATE
    assert trades.check(105, 105) is NEW
    assert trades.holes == (Hole(101, 103),)


def test_continuity_closes_a_hole_with_what_comes_late() -> None:
    trades = Continuity()
    trades.check(1, 1)
    trades.check(5, 5)
    assert trades.check(3, 3) is NEW
    assert trades.holes == (Hole(2, 2), Hole(4, 4))
    assert trades.check(3, 3) is DUPLICATE
    assert trades.check(2, 4) is NEW
    assert trades.holes == ()
    assert trades.filled == 3


def test_continuity_counts_an_order_that_covers_several_numbers() -> None:
    trades = Continuity()
    trades.check(10, 14)
    assert trades.check(15, 15) is NEW
    assert trades.check(12, 13) is DUPLICATE
    assert trades.check(14, 20) is NEW, "half of it was seen, the other half was not"
    assert trades.last == 20
    assert trades.check(25, 30) == Hole(21, 24)


def test_continuity_of_a_successor_knows_what_was_seen() -> None:
    trades = Continuity(seen_to=50)
    assert trades.check(49, 49) is DUPLICATE
    assert trades.check(51, 51) is NEW


def test_continuity_of_a_successor_finds_the_hole_between_two_sessions() -> None:
    assert Continuity(seen_to=50).check(60, 60) == Hole(51, 59)


def test_continuity_of_frames_wants_the_very_first_one() -> None:
    frames = Continuity(seen_to=-1)
    assert frames.check(0, 0) is NEW
    assert Continuity(seen_to=-1).check(2, 2) == Hole(0, 1)


def test_continuity_takes_past_trades_from_before_its_beginning_as_new() -> None:
    trades = Continuity()
    assert [trades.check(number, number) for number in (100, 99, 98)] == [NEW] * 3
    assert trades.holes == ()


def test_continuity_begins_anew_where_the_venue_does() -> None:
    trades = Continuity()
    trades.check(REWIND + 100, REWIND + 100)
    trades.check(REWIND + 103, REWIND + 103)
    assert trades.check(1, 1) is NEW
    assert trades.restarts == 1
    assert trades.check(2, 2) is NEW
    assert trades.check(5, 5) == Hole(3, 4)
    assert trades.check(2, 2) is DUPLICATE


def test_continuity_says_which_holes_it_does_not_watch_any_more() -> None:
    trades = Continuity()
    trades.check(REWIND + 100, REWIND + 100)
    trades.check(REWIND + 103, REWIND + 103)
    assert trades.take_dropped() == []
    trades.check(1, 1)
    assert trades.take_dropped() == [Hole(REWIND + 101, REWIND + 102)]
    for number in range(3, 2 * MAX_HOLES + 7, 2):
        trades.check(number, number)
    assert len(trades.holes) == MAX_HOLES
    assert trades.take_dropped() == [Hole(2, 2), Hole(4, 4)]
    assert trades.take_dropped() == []


def test_continuity_survives_one_absurd_number() -> None:
    trades = Continuity()
    trades.check(10, 10)
    assert trades.check(10**18, 10**18) == Hole(11, 10**18 - 1)
    assert [trades.check(number, number) for number in (11, 12, 13)] == [NEW] * 3


def test_continuity_keeps_a_bounded_number_of_holes_and_does_not_take_the_forgotten_for_seen() -> None:
    trades = Continuity()
    for number in range(0, 4 * MAX_HOLES, 2):
        trades.check(number, number)
    assert len(trades.holes) == MAX_HOLES
    assert trades.check(1, 1) is NEW
    assert trades.check(4 * MAX_HOLES - 2, 4 * MAX_HOLES - 2) is DUPLICATE


@st.composite
def _deliveries(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], list[tuple[int, int]]]:
    """Orders as the venue numbered them, and how they came: some lost, some twice, out of order."""
    start = draw(st.integers(0, 10**12))
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=40))
    made, at = [], start
    for length in lengths:
        made.append((at, at + length - 1))
        at += length
    came = [order for order in made[1:] for _ in range(draw(st.sampled_from((0, 1, 1, 1, 2))))]
    return start, made, [made[0], *draw(st.permutations(came))]


@given(_deliveries())
def test_continuity_whatever_comes_finds_each_number_once_and_each_hole(
    delivery: tuple[int, list[tuple[int, int]], list[tuple[int, int]]],
) -> None:
    start, _, came = delivery
    trades, seen = Continuity(), set[int]()
    for first, last in came:
        numbers = set(range(first, last + 1))
        verdict = trades.check(first, last)
        assert (verdict is DUPLICATE) == (numbers <= seen)
        if isinstance(verdict, Hole):
            assert verdict.last_missing == first - 1
            assert not seen & set(range(verdict.first_missing, first)), "a hole has nothing in it that was seen"
        seen |= numbers
        assert _numbers(trades.holes) == set(range(start, trades.last + 1)) - seen
    assert trades.last == max(seen)


def _numbers(holes: Sequence[Hole]) -> set[int]:
    assert list(holes) == sorted(holes)
    return {number for hole in holes for number in range(hole.first_missing, hole.last_missing + 1)}


def test_recent_finds_duplicates_among_the_last_ids_only() -> None:
    trades = Recent(limit=3)
    assert [trades.check(name) for name in "abca"] == [NEW, NEW, NEW, DUPLICATE]
    assert trades.check("d") is NEW
    assert trades.check("a") is NEW, "it was dropped when d came"
    assert trades.check("c") is DUPLICATE


@given(st.lists(st.sampled_from("abcdefgh"), max_size=60), st.integers(1, 5))
def test_recent_remembers_as_many_as_it_says(names: list[str], limit: int) -> None:
    trades, kept = Recent(limit), list[str]()
    for name in names:
        assert (trades.check(name) is DUPLICATE) == (name in kept)
        if name not in kept:
            kept = [*kept, name][-limit:]
