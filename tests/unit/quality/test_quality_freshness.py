"""States of a feed by both of its clocks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from coinswarm.quality.freshness import FeedClock, State, freshness, stale

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
CLOCK = FeedClock("binance", "ohlcv_15m", "ohlcv", QUARTER, "15m")


def state(clock: FeedClock, known_age: timedelta | None, event_age: timedelta | None) -> State:
    return freshness(
        clock,
        now=NOW,
        newest_known_at=None if known_age is None else NOW - known_age,
        newest_event_at=None if event_age is None else NOW - event_age,
    ).state


@pytest.mark.parametrize(
    ("known_age", "event_age", "expected"),
    [
        (QUARTER, 2 * QUARTER, State.FRESH),
        (2 * QUARTER, 3 * QUARTER, State.FRESH),
        (2 * QUARTER + timedelta(seconds=1), 2 * QUARTER, State.STALE),
        (QUARTER, 3 * QUARTER + timedelta(seconds=1), State.STALE),  # published on time, but old news
        (None, None, State.STALE),
        (QUARTER, None, State.STALE),
    ],
)
def test_freshness_breaches_at_twice_the_cadence(
    known_age: timedelta | None, event_age: timedelta | None, expected: State
) -> None:
    assert state(CLOCK, known_age, event_age) is expected


def test_freshness_of_rare_events_follows_their_own_limit() -> None:
    settled = replace(CLOCK, dataset="funding_rates", cadence=timedelta(hours=1), event_limit=timedelta(hours=9))
    assert state(settled, timedelta(hours=1), timedelta(hours=8)) is State.FRESH
    assert state(settled, timedelta(hours=1), timedelta(hours=10)) is State.STALE


def test_freshness_of_a_blocked_or_disabled_feed_is_not_stale() -> None:
    assert state(replace(CLOCK, blocked=True), None, None) is State.BLOCKED
    assert state(replace(CLOCK, enabled=False, blocked=True), None, None) is State.DISABLED


def test_stale_lists_only_what_needs_a_look() -> None:
    fresh = freshness(CLOCK, now=NOW, newest_known_at=NOW, newest_event_at=NOW)
    old = freshness(CLOCK, now=NOW, newest_known_at=NOW - timedelta(days=1), newest_event_at=NOW)
    assert stale([fresh, old]) == [old]
    assert "limit 0:30:00" in old.reason
