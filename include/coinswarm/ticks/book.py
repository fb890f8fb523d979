"""An order book in memory: prices and sizes stay the venue's text, the order is exact."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from coinswarm.ticks.model import BookUpdate, Level

MAX_LEVELS = 50_000
# Decimals of at most 15 significant digits are in the same order, and as different, as the floats nearest to them.
_FLOAT_DIGITS = 15


class Book:
    """Levels of one instrument, as plain decimals without sign or exponent.

    Prices that differ in their zeros only (`1.1`, `1.10`) are one level. `depth` is how many levels a side the venue
    keeps: it does not tell when others fall out, so they are dropped after each update.
    """

    __slots__ = ("_asks", "_bids", "depth", "symbol")

    def __init__(self, symbol: str, depth: int = MAX_LEVELS) -> None:
        self.symbol = symbol
        self.depth = min(depth, MAX_LEVELS)
        self._bids = _Side(descending=True)
        self._asks = _Side(descending=False)

    def apply(self, update: BookUpdate) -> None:
        """Replace the book by a snapshot, or change the levels that the update names; unknown deletes do nothing."""
        for side, levels in ((self._bids, update.bids), (self._asks, update.asks)):
            if update.snapshot:
                side.load(levels)
            elif levels:
                side.apply(levels)
            if len(side.prices) > self.depth:
                side.truncate(self.depth)

    def best(self) -> tuple[Level, Level] | None:
        """Best bid and best ask, None while a side is empty."""
        bids, asks = self._bids, self._asks
        if not bids.prices or not asks.prices:
            return None
        bid, ask = bids.prices[-1], asks.prices[-1]
        return (bid, bids.sizes[bid]), (ask, asks.sizes[ask])

    def top(self, depth: int) -> tuple[list[Level], list[Level]]:
        """Bids and asks, best first, at most `depth` each."""
        return self._bids.top(depth), self._asks.top(depth)

    @property
    def crossed(self) -> bool:
        """True if the best bid is not below the best ask."""
        bids, asks = self._bids.prices, self._asks.prices
        return bool(bids and asks) and Decimal(bids[-1]) >= Decimal(asks[-1])

    def __len__(self) -> int:
        return len(self._bids.prices) + len(self._asks.prices)


class _Side:
    """Sorted from worst to best: most changes are near the best price, and moving the end of a list is cheap."""

    __slots__ = ("_descending", "_key", "_keys", "prices", "sizes")

    def __init__(self, *, descending: bool) -> None:
        self._descending = descending
        self._key: Callable[[str], Any] = _float if descending else _minus_float
        self._keys: list[Any] = []
        self.prices: list[str] = []
        self.sizes: dict[str, str] = {}

    def load(self, levels: Iterable[Level]) -> None:
        # Sorted once: one by one, the 40,000 levels that some venues send would take seconds.
        self._key = _float if self._descending else _minus_float
        if any(_too_long(price) for price, _ in levels):
            self._key = _decimal if self._descending else _minus_decimal
        key = self._key
        by_key = {key(price): (price, size) for price, size in levels}
        self._keys = sorted(at for at, (_, size) in by_key.items() if not _is_zero(size))
        self.prices = [by_key[at][0] for at in self._keys]
        self.sizes = {price: size for price, size in by_key.values() if not _is_zero(size)}

    def top(self, depth: int) -> list[Level]:
        sizes = self.sizes
        return [(price, sizes[price]) for price in self.prices[: -depth - 1 : -1]]

    def truncate(self, depth: int) -> None:
        surplus = len(self.prices) - depth
        if surplus > 0:
            for price in self.prices[:surplus]:
                del self.sizes[price]
            del self.prices[:surplus], self._keys[:surplus]

    def apply(self, levels: Iterable[Level]) -> None:
        keys, prices, sizes = self._keys, self.prices, self.sizes
        for price, size in levels:
            gone = size[0] <= "0" and not size.strip("0.")  # `_is_zero`, in place: this loop is the hot path
            if price in sizes and not gone:
                sizes[price] = size
                continue
            if len(price) > _FLOAT_DIGITS:
                self._widen(price)
                keys = self._keys
            key = self._key(price)
            at = bisect_left(keys, key)
            if at < len(keys) and keys[at] == key:
                # The same number, perhaps spelled with other zeros.
                del sizes[prices[at]]
                if gone:
                    del keys[at], prices[at]
                else:
                    prices[at] = price
                    sizes[price] = size
            elif not gone:
                keys.insert(at, key)
                prices.insert(at, price)
                sizes[price] = size

    def _widen(self, price: str) -> None:
        """Go over to decimals for good if floats cannot tell such prices apart."""
        if self._key in (_float, _minus_float) and _too_long(price):
            self._key = _decimal if self._descending else _minus_decimal
            self._keys = [self._key(known) for known in self.prices]


def _is_zero(size: str) -> bool:
    # Most begin with another digit and need no second look; a point sorts before the digits, as `.00` begins.
    return size[0] <= "0" and not size.strip("0.")


def _too_long(price: str) -> bool:
    return len(price) > _FLOAT_DIGITS and len(price.replace(".", "").strip("0")) > _FLOAT_DIGITS


_float = float
_decimal = Decimal


def _minus_float(price: str) -> float:
    return -float(price)


def _minus_decimal(price: str) -> Decimal:
    return Decimal(price).copy_negate()
