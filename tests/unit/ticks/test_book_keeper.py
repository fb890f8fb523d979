"""Books that are broken from outside of their own chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import cast

import pytest
from tests.unit.ticks.sessions import session_of

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks import book_keeper
from coinswarm.ticks.book_keeper import BookCounters, BookKeeper
from coinswarm.ticks.feeds import Feeds
from coinswarm.ticks.model import BookUpdate
from coinswarm.ticks.protocol import Venue
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.venues import binance, bybit, coinbase, kraken
from coinswarm.ticks.verdicts import Trouble

pytestmark = pytest.mark.unit

ALL = list(INSTRUMENTS)


class Host:
    in_charge = False

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.fetched: list[str] = []
        self.restarts: list[str] = []

    def send(self, frames: Iterable[bytes]) -> None:
        self.sent += frames

    def fetch(self, url: str, got: Callable[[bytes | None], None]) -> None:
        self.fetched.append(url)
        got(None)

    def restart(self, reason: str) -> None:
        self.restarts.append(reason)


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


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that only the test lets pass."""
    seconds = [1000.0]
    monkeypatch.setattr(book_keeper, "time", SimpleNamespace(monotonic=lambda: seconds[0], time_ns=time.time_ns))
    return seconds


def test_book_that_breaks_as_soon_as_it_is_there_is_not_asked_for_at_the_networks_speed(clock: list[float]) -> None:
    venue, host = kraken.connections("spot", ALL)[0], Host()
    books = BookKeeper(venue, cast("Feeds", None), TickSettings(), host, BookCounters())
    for live in books._books.values():
        live.retry_at = float("inf")
    for _ in range(100):
        books.take(BookUpdate("BTC-USD", True, [("100", "1")], [("101", "1")], 1), 0)
        books.take(BookUpdate("BTC-USD", False, [("102", "1")], [], 1), 0)  # crossed
    rounds = len(host.sent)
    clock[0] += 30.0
    books.tick()
    assert len(host.sent) == 2 * rounds
    assert rounds == 2, "unsubscribe, subscribe"
    # One that held for a while is asked for at once again.
    for live in books._books.values():
        live.retry_at = float("inf")
    books.take(BookUpdate("BTC-USD", True, [("100", "1")], [("101", "1")], 1), 0)
    clock[0] += 60.0
    books.take(BookUpdate("BTC-USD", False, [("102", "1")], [], 1), 0)
    assert len(host.sent) == 3 * rounds


def test_book_that_rest_does_not_give_is_asked_for_seldom_and_its_socket_stays(clock: list[float]) -> None:
    venue, host = binance.connections("spot", ALL)[0], Host()
    books = BookKeeper(venue, cast("Feeds", None), TickSettings(), host, BookCounters())
    for live in books._books.values():
        live.retry_at = float("inf")
    books.take(BookUpdate("BTC-USDT", False, [("1", "1")], [("2", "1")], 1, 5, 6), 1)
    for _ in range(4 * 60 * 60 * 10):
        clock[0] += 0.25
        books.tick()
    assert host.restarts == []
    assert 1000 < len(host.fetched) < 2400, "ten hours at about half a minute"


def test_book_without_a_time_waits_for_one(clock: list[float]) -> None:
    venue, host = kraken.connections("spot", ALL)[0], Host()
    host.in_charge = True
    session, _ = session_of("kraken_spot")
    books = BookKeeper(venue, session.feeds, TickSettings(), host, BookCounters())
    books.take(BookUpdate("BTC-USD", True, [("100", "1")], [("101", "1")], 0), 1_000)
    assert session.feeds._writer.pending == []
    books.take(BookUpdate("BTC-USD", False, [("100", "2")], [], 7), 2_000)
    assert ["\r\n7\r\n" in entry for entry in session.feeds._writer.pending] == [True]


def test_order_flow_before_a_socket_was_in_charge_is_not_told() -> None:
    venue, host = kraken.connections("spot", ALL)[0], Host()
    session, _ = session_of("kraken_spot")
    books = BookKeeper(venue, session.feeds, TickSettings(), host, BookCounters())
    books.take(BookUpdate("BTC-USD", True, [("100", "1")], [("101", "1")], 1), 1_000)
    books.take(BookUpdate("BTC-USD", False, [("100", "9")], [], 2), 1_100)
    host.in_charge = True
    books.in_charge(1_200)
    books.publish(1_300)
    assert ["\r\n$3\r\nofi\r\n$1\r\n0\r\n" in entry for entry in session.feeds._writer.pending] == [True]
