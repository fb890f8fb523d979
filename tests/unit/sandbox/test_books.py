"""The simulated order books: sorted, never crossed, and the same for whoever asks."""

from __future__ import annotations

import itertools

import pytest

from coinswarm.sandbox.market.books import Book, Levels
from coinswarm.sandbox.market.listings import LISTINGS
from coinswarm.sandbox.market.model import Listing
from coinswarm.sandbox.market.revisions import Revisions
from coinswarm.sandbox.market.simulated import SimulatedMarket
from coinswarm.sandbox.protocol import Clock

pytestmark = pytest.mark.unit

NOW = 1_790_000_123_456
SLOTS = 40


def book(listing: Listing) -> Book:
    return SimulatedMarket(5, Clock(), Revisions()).book(listing)


def applied(levels: Levels, changes: Levels, depth: int) -> Levels:
    """A client's book: changes laid over it, then cut to its depth."""
    sides = []
    for old, new, best_first in ((levels.bids, changes.bids, -1), (levels.asks, changes.asks, 1)):
        side = dict(old) | dict(new)
        rows = sorted(((price, lots) for price, lots in side.items() if lots), key=lambda row: best_first * row[0])
        sides.append(tuple(rows[:depth]))
    return Levels(*sides)


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda x: f"{x.venue}-{x.market}-{x.symbol}")
def test_book_when_followed_slot_by_slot_then_it_is_whole_sorted_and_moves(listing: Listing) -> None:
    one = book(listing)
    start = one.slot(NOW)
    seen, numbers = [], []
    for slot in range(start, start + SLOTS):
        levels = one.levels(slot)
        bids, asks = [price for price, _ in levels.bids], [price for price, _ in levels.asks]
        assert len(bids) == len(asks) >= 25
        assert bids == sorted(set(bids), reverse=True)
        assert asks == sorted(set(asks))
        assert bids[-1] > 0
        assert bids[0] < asks[0]
        assert all(lots > 0 for side in levels for _, lots in side)
        seen.append(levels)
        numbers.append(one.number(slot))
    assert all(early < late for early, late in itertools.pairwise(numbers))
    changed = sum(early != late for early, late in itertools.pairwise(seen))
    assert changed > SLOTS * 0.9


@pytest.mark.parametrize("depth", [10, 30])
@pytest.mark.parametrize("step", [1, 7])
def test_changes_when_laid_over_a_cut_book_then_it_is_the_next(depth: int, step: int) -> None:
    for listing in LISTINGS[::3]:
        one = book(listing)
        start = one.slot(NOW)
        mine = Levels(*(side[:depth] for side in one.levels(start)))
        for slot in range(start + step, start + SLOTS, step):
            mine = applied(mine, one.changes(slot - step, slot, depth), depth)
            assert mine == Levels(*(side[:depth] for side in one.levels(slot)))


def test_book_when_asked_backwards_then_it_is_the_same() -> None:
    listing = LISTINGS[5]
    one, other = book(listing), book(listing)
    slots = range(one.slot(NOW), one.slot(NOW) + SLOTS)
    assert [one.levels(slot) for slot in slots] == [other.levels(slot) for slot in reversed(slots)][::-1]


def test_book_when_there_was_a_trade_then_it_touches_the_best_price() -> None:
    for listing in LISTINGS[::4]:
        one = book(listing)
        slot = one.slot(NOW)
        last = one.last_trade(one.moment(slot))
        assert last is not None
        best = one.levels(slot).asks[0] if last.buy else one.levels(slot).bids[0]
        assert best[0] == last.price
