"""What is said about a minute, and when."""

from __future__ import annotations

import pytest

from coinswarm.ticks.protocol import Proof
from coinswarm.ticks.verdicts import Minutes, MinuteVerdict, Trouble, Verdict, dump, load

pytestmark = pytest.mark.unit

M = 60_000
START = 29_000_000 * M


def _close(minutes: Minutes, now_ms: int) -> list[tuple[int, str, int, int]]:
    rows = minutes.close("okx", "BTC-USDT", "trades", now_ms)
    assert all(isinstance(row, MinuteVerdict) for row in rows)
    return [((row.minute_ms - START) // M, row.verdict.value, row.events, row.gaps) for row in rows]


def _minutes(proof: Proof = Proof.SEQUENCE) -> Minutes:
    minutes = Minutes(proof)
    minutes.begin(START)
    return minutes


def _hear(minutes: Minutes, ts: int, recv_ms: int | None = None) -> None:
    minutes.roll(ts, ts if recv_ms is None else recv_ms)
    minutes.proven_ms = max(minutes.proven_ms, ts)


def test_minute_of_a_numbered_stream_is_verified_by_the_next_event() -> None:
    minutes = _minutes()
    for ts in (START + 1, START + 30_000, START + M - 1):
        _hear(minutes, ts)
    assert _close(minutes, START + M + 10_000) == [], "the last trades of the minute may be missing"
    _hear(minutes, START + M + 12_000)
    assert _close(minutes, START + M + 13_000) == [(0, "verified", 3, 0)]
    assert _close(minutes, START + M + 14_000) == [], "once is enough"


def test_minute_of_a_numbered_stream_that_falls_silent_is_clean_and_verified_later() -> None:
    minutes = _minutes()
    _hear(minutes, START + 1)
    assert _close(minutes, START + 2 * M + 6_000) == [(0, "clean", 1, 0)]
    _hear(minutes, START + 4 * M)
    assert _close(minutes, START + 4 * M + 6_000) == [
        (0, "verified", 1, 0),
        (1, "verified", 0, 0),
        (2, "verified", 0, 0),
        (3, "verified", 0, 0),
    ]


def test_minute_whose_missing_numbers_came_late_is_verified_unless_something_else_was_wrong() -> None:
    minutes = _minutes()
    for ts in (START + 1, START + M + 1, START + 2 * M + 1):
        _hear(minutes, ts)
    minutes.hole(START + 10, START + M + 10)
    minutes.hole(START + M + 20, START + M + 30)
    assert _close(minutes, START + 2 * M + 6_000) == [(0, "suspect", 1, 0), (1, "suspect", 1, 2)]
    minutes.healed(START + 10, START + M + 10)
    assert _close(minutes, START + 2 * M + 7_000) == [(0, "verified", 1, 0), (1, "suspect", 1, 1)]
    minutes.flag(START + M + 40, START + M + 40, Trouble.RECONNECT)
    minutes.healed(START + M + 20, START + M + 30)
    assert _close(minutes, START + 2 * M + 8_000) == [(1, "suspect", 1, 0)]


def test_minute_with_a_hole_is_handed_to_the_successor_as_doubtful() -> None:
    minutes, successor = _minutes(), _minutes()
    minutes.hole(START + 10, START + 20)
    successor.adopt(load(dump([("one", minutes)]))["one"])
    _hear(successor, START + M + 1)
    assert _close(successor, START + M + 6_000) == [(0, "suspect", 0, 1)]


def test_stream_without_numbers_is_clean_at_best_and_with_a_checksum_verified() -> None:
    for proof, verdict in ((Proof.NONE, "clean"), (Proof.CHECKSUM, "verified")):
        minutes = _minutes(proof)
        _hear(minutes, START + 1)
        assert _close(minutes, START + M + 6_000) == [(0, verdict, 1, 0)]


def test_hole_spoils_the_minutes_between_the_two_events() -> None:
    minutes = _minutes()
    _hear(minutes, START + 50_000)
    minutes.flag(START + 50_000, START + 2 * M + 1, Trouble.HOLE, gaps=1)
    _hear(minutes, START + 2 * M + 1)
    _hear(minutes, START + 4 * M)
    assert _close(minutes, START + 4 * M + 6_000) == [
        (0, "suspect", 1, 0),
        (1, "suspect", 0, 0),
        (2, "suspect", 1, 1),
        (3, "verified", 0, 0),
    ]


def test_minutes_without_a_connection_are_missing_and_those_with_half_of_one_suspect() -> None:
    minutes = _minutes()
    _hear(minutes, START + 10_000)
    minutes.down_since = START + 20_000
    assert _close(minutes, START + 2 * M + 6_000) == [(0, "suspect", 1, 0), (1, "missing", 0, 0)]
    minutes.flag(minutes.down_since, START + 2 * M + 30_000, Trouble.RECONNECT)
    minutes.down_since = None
    _hear(minutes, START + 2 * M + 40_000)
    _hear(minutes, START + 3 * M + 1)
    assert _close(minutes, START + 3 * M + 6_000) == [(2, "suspect", 1, 0)]


def test_late_event_revises_the_count_of_its_minute() -> None:
    minutes = _minutes()
    _hear(minutes, START + 1)
    _hear(minutes, START + M + 1)
    assert _close(minutes, START + M + 6_000) == [(0, "verified", 1, 0)]
    minutes.roll(START + 2, START + M + 7_000)
    assert _close(minutes, START + M + 8_000) == [(0, "verified", 2, 0)]


def test_events_from_before_our_time_are_no_verdict_of_ours() -> None:
    minutes = _minutes()
    minutes.roll(START - 5 * M, START + 1)
    _hear(minutes, START + 2)
    _hear(minutes, START + M + 2)
    assert _close(minutes, START + M + 6_000) == [(0, "verified", 1, 0)]
    assert _close(minutes, START + M + 7_000) == []


@pytest.mark.parametrize("ts", [0, START + 10**12, -5])
def test_event_with_an_impossible_time_counts_when_it_came(ts: int) -> None:
    minutes = _minutes(Proof.NONE)
    minutes.roll(ts, START + 5)
    minutes.roll(START + 6, START + 6)
    assert _close(minutes, START + M + 6_000) == [(0, "clean", 2, 0)]


def test_successor_goes_on_with_the_minute_that_it_was_handed() -> None:
    first, second = _minutes(), Minutes(Proof.SEQUENCE)
    _hear(first, START + 1)
    _hear(first, START + 2)
    first.flag(START + 2, START + 2, Trouble.RESYNC, gaps=1)
    text = dump([("okx BTC-USDT trades", first)])
    second.adopt(load(text)["okx BTC-USDT trades"])
    second.begin(START + 30_000)
    _hear(second, START + 31_000)
    _hear(second, START + M)
    assert _close(second, START + M + 6_000) == [(0, "suspect", 3, 1)]
    assert load("not json") == {}
    assert load("[1]") == {}


def test_verdicts_of_days_do_not_pile_up() -> None:
    minutes = _minutes(Proof.NONE)
    for number in range(1000):
        _hear(minutes, START + number * M)
        _close(minutes, START + number * M + 6_000)
    assert len(minutes._minutes) < 200
    assert Verdict("clean") is Verdict.CLEAN
