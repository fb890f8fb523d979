"""What an unnumbered stream missed, from the venue's latest trades: all of it, or the gap is left to the repair."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace
from tests.unit.ticks.sessions import session_of

from coinswarm.errors import SourceError
from coinswarm.ticks import refill as refilling
from coinswarm.ticks.gaps import Gap, GapReason
from coinswarm.ticks.model import Trade
from coinswarm.ticks.refill import missed_between, refill

pytestmark = pytest.mark.unit

SYMBOL = "BTC-USDT"


def trades(*names: str) -> list[Trade]:
    return [Trade(SYMBOL, "1", "1", "buy", 1_000 + place, name) for place, name in enumerate(names)]


@pytest.mark.parametrize(
    ("page", "missed"),
    [
        ("abcd", ["b", "c"]),
        ("0abcd9", ["b", "c"]),
        ("ad", []),
        ("axbyd", ["x", "b", "y"]),
        ("akd", []),
        ("bcd", None),
        ("abc", None),
        ("dca", None),
        ("", None),
    ],
)
def test_missed_are_the_unknown_ones_between_two_that_are_known(page: str, missed: list[str] | None) -> None:
    found = missed_between(trades(*page), "a", "d", {"a", "d", "k"})
    assert (found and [trade.id for trade in found]) == missed


def test_missed_of_one_millisecond_may_be_told_in_any_order() -> None:
    page = [replace(trade, ts=1_000) for trade in trades(*"bacdx")]
    found = missed_between([*page, *trades("y")], "a", "d", {"a", "d"})
    assert found is not None
    assert {trade.id for trade in found} == {"b", "c", "x", "y"}


class Venue:
    """Answers with one page after the other; None is no answer."""

    def __init__(self, *pages: str | None) -> None:
        self.pages = list(pages)

    async def latest_trades(self, symbol: str) -> list[Trade]:
        assert symbol == SYMBOL
        page = self.pages.pop(0)
        if page is None:
            raise SourceError("bybit: away")
        return trades(*page)


def told_of(*pages: str | None, before: str = "a", after: str = "d", lost: bool = False) -> tuple[list[Gap], list[str]]:
    """Revisions of the gap between what was heard before and after, and ids of the late entries."""
    session, told = session_of("bybit_spot")
    feeds, feed = session.feeds, session.feeds.trades[SYMBOL]
    origin = cast("Any", None)
    writer = cast("Any", feeds.writer)
    writer.position, writer.counters = 0, SimpleNamespace(entries=0, reconnects=0)
    feeds.take(origin, trades(*before), 2_000)
    feeds.interrupted(feed, GapReason.DISCONNECT, 2_000)
    gap = feeds.resumed(feed, 3_000)
    assert gap is not None
    feeds.take(origin, trades(*after), 3_001)
    written = len(writer.pending)
    newest = feed.newest

    async def scene() -> None:
        working = asyncio.create_task(refill(Venue(*pages), feeds, feed, gap))
        await asyncio.sleep(0)
        if lost:
            await asyncio.sleep(0.05)
            writer.counters.reconnects += 1
        await working

    asyncio.run(scene())
    assert feed.newest is newest
    return told[2:], [entry.split("\r\n$2\r\nid\r\n")[1].split("\r\n")[1] for entry in writer.pending[written:]]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None] | None:
    monkeypatch.setattr(refilling, "PAUSES", (0.0, 0.0, 0.0))
    monkeypatch.setattr(refilling, "KEPT_SECONDS", 0.2)
    return None


def test_gap_when_the_latest_trades_span_it_then_they_are_written_and_it_is_closed_with_their_number() -> None:
    (gap,), late = told_of("abcd")
    assert (gap.state, gap.missing, gap.repaired, gap.detail["after"]) == ("repaired", 2, 2, "a")
    assert late == ["b", "c"]


def test_gap_when_the_venue_lags_or_does_not_answer_then_is_asked_again() -> None:
    (gap,), late = told_of(None, "ab", "abd")
    assert (gap.state, gap.missing, late) == ("repaired", 1, ["b"])


@pytest.mark.parametrize(
    ("pages", "before", "after"),
    [
        (("bcd", "cd", "d"), "a", "d"),  # it goes back no further
        (("abcd",), "", "d"),  # nothing was heard before
        (("abcd",), "a", ""),  # nothing since
        ((None, None, None), "a", "d"),
    ],
)
def test_gap_when_it_cannot_be_seen_whole_then_stays_as_it_is(
    pages: tuple[str | None, ...], before: str, after: str
) -> None:
    assert told_of(*pages, before=before, after=after) == ([], [])


def test_gap_when_redis_went_away_meanwhile_then_stays_open_though_they_were_written() -> None:
    assert told_of("abcd", lost=True) == ([], ["b", "c"])
