"""Books that are broken from outside of their own chain."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

import pytest

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.book_keeper import BookCounters, BookKeeper
from coinswarm.ticks.feeds import Feeds
from coinswarm.ticks.model import BookUpdate
from coinswarm.ticks.protocol import Venue
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.venues import bybit, coinbase, kraken
from coinswarm.ticks.verdicts import Trouble

pytestmark = pytest.mark.unit

ALL = list(INSTRUMENTS)


class Host:
    in_charge = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, frames: Iterable[bytes]) -> None:
        self.sent += frames

    def fetch(self, url: str, got: Callable[[bytes | None], None]) -> None:
        raise AssertionError(url)

    def restart(self, reason: str) -> None:
        raise AssertionError(reason)


@pytest.mark.parametrize(
    "venue",
    [
        coinbase.connections("spot", ALL)[0],
        kraken.connections("spot", ALL)[0],
        bybit.connections("spot", ALL)[0],
    ],
    ids=lambda venue: venue.name,
)
def test_broken_book_is_valid_again_by_a_snapshot_and_not_by_an_update(venue: Venue) -> None:
    host = Host()
    # Not in charge, so nothing is written.
    books = BookKeeper(venue, cast("Feeds", None), TickSettings(), host, BookCounters())
    for stream in venue.streams:
        books.take(BookUpdate(stream.symbol, True, [("1", "1")], [("2", "1")], 0, 5, 5), 0)
    assert books.all_valid
    books.broken(None, Trouble.RESYNC, "a frame is missing")
    asked = len(host.sent)
    assert asked
    for stream in venue.streams:
        books.take(BookUpdate(stream.symbol, False, [("1.5", "1")], [], 0, 6, 6, 5), 0)
    assert not books.all_valid
    assert len(host.sent) == asked
    for stream in venue.streams:
        books.take(BookUpdate(stream.symbol, True, [("1", "1")], [("2", "1")], 0, 7, 7), 0)
    assert books.all_valid
