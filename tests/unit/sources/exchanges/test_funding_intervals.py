"""Funding intervals by the distance of settlements."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.datasets.records import FieldError
from coinswarm.sources.exchanges._funding import interval_by_grid, interval_of, intervals, settlement_hour

pytestmark = pytest.mark.unit

DAY = datetime(2026, 3, 10, tzinfo=UTC)


def _hour(hour: int) -> datetime:
    return DAY + timedelta(hours=hour)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        ([0, 8, 16], [8, 8, 8]),
        ([0, 4, 8], [4, 4, 4]),
        # The venue changed from 8 h to 4 h at noon.
        ([0, 8, 12, 16], [8, 8, 4, 4]),
        # One row alone: the longest grid that holds it.
        ([8], [8]),
        ([4], [4]),
        ([6], [2]),
        ([5], [1]),
        # Days without a row: no venue pays every 32 h.
        ([0, 32, 40], [8, 8, 8]),
    ],
)
def test_intervals_when_page_is_readable_then_it_is_the_time_since_the_one_before(
    hours: list[int], expected: list[int]
) -> None:
    page = [_hour(hour) for hour in hours]
    wanted = {moment: Decimal(hour) for moment, hour in zip(page, expected, strict=True)}
    assert intervals(page) == wanted
    assert intervals(list(reversed(page))) == wanted, "newest first as well"


@pytest.mark.parametrize("newest_first", [False, True])
def test_intervals_when_a_row_is_unreadable_then_its_neighbours_are_not_guessed(newest_first: bool) -> None:
    page = [_hour(0), None, _hour(8), _hour(12)]
    known = intervals(list(reversed(page)) if newest_first else page)
    assert known == {_hour(8): Decimal(4), _hour(12): Decimal(4)}
    with pytest.raises(FieldError, match="unreadable"):
        interval_of(_hour(0), known)


def test_settlement_hour_when_stamped_some_milliseconds_off_then_it_is_the_full_hour() -> None:
    for off in (-9, 0, 8, 59_999):
        assert settlement_hour(_hour(8) + timedelta(milliseconds=off), "t") == _hour(8)


@pytest.mark.parametrize("minutes", [2, 15, 30, 45, 58])
def test_settlement_hour_when_far_from_an_hour_then_it_is_refused(minutes: int) -> None:
    with pytest.raises(FieldError, match="more than a minute"):
        settlement_hour(_hour(8) + timedelta(minutes=minutes), "t")


@given(st.sampled_from([1, 2, 4, 8]), st.integers(2, 200), st.integers(0, 10_000))
def test_intervals_when_the_interval_is_constant_then_every_row_has_it(hours: int, count: int, start: int) -> None:
    page = [DAY + timedelta(hours=hours * (start + index)) for index in range(count)]
    assert set(intervals(page).values()) == {Decimal(hours)}
    assert interval_by_grid(page[0]) >= hours
