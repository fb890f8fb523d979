from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.ticks.book import MAX_LEVELS, Book
from coinswarm.ticks.model import BookUpdate, Level

pytestmark = pytest.mark.unit


def update(bids: list[Level], asks: list[Level], *, snapshot: bool = False) -> BookUpdate:
    return BookUpdate("BTC-USD", snapshot, bids, asks, 0)


def book_of(bids: list[Level], asks: list[Level]) -> Book:
    book = Book("BTC-USD")
    book.apply(update(bids, asks, snapshot=True))
    return book


class NaiveBook:
    """What a book is, without thinking of speed: decimals in dictionaries, sorted whenever one looks."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.sides: tuple[dict[Decimal, Level], dict[Decimal, Level]] = ({}, {})

    def apply(self, change: BookUpdate) -> None:
        for side, levels, best_first in ((0, change.bids, -1), (1, change.asks, 1)):
            kept = {} if change.snapshot else dict(self.sides[side])
            for price, size in levels:
                if Decimal(size) == 0:
                    kept.pop(Decimal(price), None)
                else:
                    kept[Decimal(price)] = (price, size)
            order = sorted(kept, key=lambda price: price * best_first)[: self.depth]
            self.sides[side].clear()
            self.sides[side].update({price: kept[price] for price in order})

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        return list(self.sides[0].values())[:depth], list(self.sides[1].values())[:depth]


# Few different numbers, so that updates meet; some in other spellings, some that floats cannot tell apart.
prices = st.one_of(
    st.builds("{}.{}{}".format, st.integers(98, 102), st.integers(0, 9), st.sampled_from(["", "0", "000"])),
    st.builds("{}.0000000000000000{}".format, st.integers(98, 102), st.integers(0, 9)),
    st.integers(98, 102).map(str),
)
sizes = st.sampled_from(
    ["0", "0.0", "0.00000000", ".00", "1", "0.10", "0.1", "10", "0.00000001", "123456789.123456789"]
)
levels = st.lists(st.tuples(prices, sizes), max_size=12)
updates = st.lists(st.builds(BookUpdate, st.just("BTC-USD"), st.booleans(), levels, levels, st.just(0)), max_size=20)


@given(updates, st.integers(1, 8))
def test_book_after_any_updates_equals_a_naive_one_of_decimals(changes: list[BookUpdate], depth: int) -> None:
    book, naive = Book("BTC-USD", depth), NaiveBook(depth)
    for change in changes:
        book.apply(change)
        naive.apply(change)
        assert book.top(99) == naive.top(99)
        assert book.top(2) == naive.top(2)
        bids, asks = naive.top(1)
        assert book.best() == ((bids[0], asks[0]) if bids and asks else None)
        assert book.crossed == (bool(bids and asks) and Decimal(bids[0][0]) >= Decimal(asks[0][0]))


def test_level_when_spelled_with_other_zeros_is_the_same_and_keeps_the_newest_text() -> None:
    book = book_of([("1.10", "5")], [("1.2", "1")])
    book.apply(update([("1.1", "7.0")], []))
    assert book.top(5) == ([("1.1", "7.0")], [("1.2", "1")])
    book.apply(update([], [("1.200", "0.000")]))
    assert book.top(5) == ([("1.1", "7.0")], [])


def test_snapshot_when_it_names_a_level_twice_keeps_the_last() -> None:
    assert book_of([("1.10", "5"), ("1.1", "6"), ("1", "2"), ("1.0", "0")], []).top(5) == ([("1.1", "6")], [])


def test_delete_of_an_unknown_level_changes_nothing() -> None:
    book = book_of([("1.1", "5")], [("1.2", "1")])
    book.apply(update([("1.05", "0"), ("9", "0.0")], [("1.15", "0")]))
    assert book.top(5) == ([("1.1", "5")], [("1.2", "1")])


@pytest.mark.parametrize(
    ("bid", "ask", "crossed"),
    [("1.1", "1.2", False), ("1.2", "1.20", True), ("1.3", "1.2", True), ("9.9", "10.1", False)],
)
def test_crossed_when_bid_reaches_ask_is_true(bid: str, ask: str, crossed: bool) -> None:
    assert book_of([(bid, "1")], [(ask, "1")]).crossed is crossed


def test_crossed_when_a_side_is_empty_is_false() -> None:
    assert not book_of([("1", "1")], []).crossed
    assert book_of([("1", "1")], []).best() is None


def test_book_of_a_depth_keeps_the_best_of_both_sides() -> None:
    book = Book("BTC-USD", 2)
    book.apply(update([("1", "1"), ("3", "1"), ("2", "1")], [("6", "1"), ("4", "1"), ("5", "1")], snapshot=True))
    assert book.top(9) == ([("3", "1"), ("2", "1")], [("4", "1"), ("5", "1")])
    book.apply(update([("1", "0")], [("4", "0")]))
    assert book.top(9) == ([("3", "1"), ("2", "1")], [("5", "1")])


def test_prices_that_floats_cannot_tell_apart_stay_two_levels() -> None:
    low, high = "0.10000000000000000001", "0.10000000000000000002"
    assert float(low) == float(high)
    book = book_of([("0.1", "1")], [("0.2", "1")])
    book.apply(update([(high, "2"), (low, "3")], []))
    assert book.top(9)[0] == [(high, "2"), (low, "3"), ("0.1", "1")]
    book.apply(update([(low, "0")], []))
    assert book.top(9)[0] == [(high, "2"), ("0.1", "1")]


def test_book_when_flooded_with_levels_stays_bounded() -> None:
    book = Book("BTC-USD", depth=MAX_LEVELS * 2)
    book.apply(update([(str(price), "1") for price in range(1, MAX_LEVELS + 11)], [], snapshot=True))
    book.apply(update([(f"{price}.5", "1") for price in range(1, 11)], []))
    assert len(book) == MAX_LEVELS
    assert book.top(1)[0] == [(str(MAX_LEVELS + 10), "1")]


def test_snapshot_replaces_what_was_there() -> None:
    book = book_of([("1", "1")], [("2", "1")])
    book.apply(update([("5", "1")], [], snapshot=True))
    assert book.top(9) == ([("5", "1")], [])
