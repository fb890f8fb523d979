"""Gaps in a generated calendar: leading, trailing, in the middle, or everything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.batches import Batch
from coinswarm.datasets import STORED, dataset_named
from coinswarm.errors import UserError
from coinswarm.quality.calendar import COVERAGE, Coverage, GapKind, calendar_of, gaps
from coinswarm.timeframes import Window

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(minutes=15)
WINDOW = Window(START, START + 8 * STEP)


def slot(number: int) -> datetime:
    return START + number * STEP


@pytest.mark.parametrize(
    ("missing", "kind"),
    [
        ([0], GapKind.LEADING),
        ([0, 1, 2], GapKind.LEADING),
        ([7], GapKind.TRAILING),
        ([5, 6, 7], GapKind.TRAILING),
        ([3], GapKind.MIDDLE),
        ([1, 2, 3, 4, 5, 6], GapKind.MIDDLE),
        (list(range(8)), GapKind.ALL),
    ],
)
def test_gap_is_named_by_where_it_lies(missing: list[int], kind: GapKind) -> None:
    (gap,) = gaps(WINDOW, STEP, [("BTC-USDT", slot(number)) for number in missing])
    assert (gap.kind, gap.slots) == (kind, len(missing))
    assert (gap.first, gap.last) == (slot(missing[0]), slot(missing[-1]))


def test_gaps_of_two_symbols_are_not_joined() -> None:
    found = gaps(WINDOW, STEP, [("ETH-USDT", slot(3)), ("BTC-USDT", slot(2))])
    assert [(gap.symbol, gap.first) for gap in found] == [("BTC-USDT", slot(2)), ("ETH-USDT", slot(3))]


def test_one_missing_bar_is_a_gap() -> None:
    # A comparison of neighbours with a tolerance of two intervals does not see it.
    assert [gap.slots for gap in gaps(WINDOW, STEP, [("BTC-USDT", slot(4))])] == [1]


@given(st.sets(st.integers(0, 7)))
def test_gaps_cover_exactly_the_missing_slots(missing: set[int]) -> None:
    found = gaps(WINDOW, STEP, [("BTC-USDT", slot(number)) for number in missing])
    covered = {gap.first + i * STEP for gap in found for i in range(gap.slots)}
    assert covered == {slot(number) for number in missing}


def test_every_stored_dataset_says_what_can_be_expected() -> None:
    assert set(COVERAGE) == {dataset.name for dataset in STORED}


def test_calendar_refuses_a_hostile_symbol() -> None:
    batch = Batch("binance", "ohlcv_15m", "ohlcv", "15m", WINDOW, "d", "r")
    with pytest.raises(UserError):
        calendar_of(dataset_named("ohlcv"), batch, ("BTC'); drop table raw.ohlcv; --",))


def test_calendar_of_predicted_funding_expects_presence_not_settlements() -> None:
    batch = Batch("binance", "funding_rates_predicted", "funding_rates", "", WINDOW, "d", "r")
    assert calendar_of(dataset_named("funding_rates"), batch, ("BTC-USDT-PERP",)).coverage is Coverage.PRESENCE


def test_calendar_before_a_listing_expects_nothing() -> None:
    # BTC-USDT-PERP of Binance is listed since 2019-09-08.
    window = Window(datetime(2019, 9, 1, tzinfo=UTC), datetime(2019, 9, 2, tzinfo=UTC))
    batch = Batch("binance", "ohlcv_1h", "ohlcv", "1h", window, "d", "r")
    calendar = calendar_of(dataset_named("ohlcv"), batch, ("BTC-USDT-PERP",))
    assert "where false" in calendar.expected
