"""A small order book around the last trade: what it holds at any moment depends on nothing but the moment.

Time is cut into slots; from one to the next some levels change size, and as the price moves some go and others come.
Every connection, and a REST snapshot, sees the same book under the same numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from coinswarm.sandbox.market import candles
from coinswarm.sandbox.market.model import DAY, MINUTE
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.randomness import Ints, key, normal, words

LEVELS = 30
# A level keeps its size for that many slots.
_SLOTS_OF_A_SIZE = 12
# Between levels, as a share of the price.
_STEP = 2e-5
_NUMBERS_A_SLOT = 16
_REMEMBERED = 8
_LOOK_BACK = 10 * MINUTE

Side = tuple[tuple[int, int], ...]


class Levels(NamedTuple):
    """Bids and asks, best first, as (ticks, lots)."""

    bids: Side
    asks: Side


class Book:
    """The book of a listing by slots of `listing.book_ms`."""

    def __init__(self, seed: int, tape: Tape) -> None:
        """Around the trades of a tape."""
        listing = tape.listing
        self.listing = listing
        self.tape = tape
        self._seed = seed
        name = (listing.venue, listing.market, listing.symbol)
        self._series = {side: key(seed, *name, "book", side) for side in ("bids", "asks")}
        self._numbers = key(seed, *name, "book", "numbers")
        self._phase = int(self._numbers) % listing.book_ms
        self._known: dict[int, Levels] = {}
        self._steps: dict[int, int] = {}

    def slot(self, at_ms: int) -> int:
        """The slot in which a moment lies."""
        return (at_ms - self._phase) // self.listing.book_ms

    def moment(self, slot: int) -> int:
        """Milliseconds since the epoch at which a slot begins."""
        return slot * self.listing.book_ms + self._phase

    def number(self, slot: int) -> int:
        """The venue's number of the last change of a slot: it grows by uneven steps."""
        jitter = int(words(self._numbers, np.array([slot], dtype=np.int64))[0] % np.uint64(_NUMBERS_A_SLOT - 1))
        return slot * _NUMBERS_A_SLOT + jitter

    def levels(self, slot: int) -> Levels:
        """The book of a slot."""
        found = self._known.get(slot)
        if found is None:
            found = self._made(slot)
            for oldest in list(self._known)[: max(0, len(self._known) - _REMEMBERED + 1)]:
                self._known.pop(oldest, None)
            self._known[slot] = found
        return found

    def changes(self, before: int, slot: int, depth: int = LEVELS) -> Levels:
        """Levels that differ between two slots; 0 lots where one is gone.

        With a `depth`, a client that keeps no more levels than that: what merely fell out of them is not told.
        """
        old, new = self.levels(before), self.levels(slot)
        return Levels(_changed(old.bids, new.bids, depth), _changed(old.asks, new.asks, depth))

    def last_trade(self, at_ms: int) -> Trade | None:
        """The last trade up to a moment."""
        number = self.tape.count_before((at_ms + 1) * 1000)
        return self.tape.at(number) if number else None

    def _made(self, slot: int) -> Levels:
        moment = self.moment(slot)
        last = self.last_trade(moment)
        if last is None:
            return Levels((), ())
        width = 1 + int(words(self._numbers, np.array([-slot], dtype=np.int64))[0] >> np.uint64(62))
        bid, ask = (last.price - width, last.price) if last.buy else (last.price, last.price + width)
        step = self._step(moment // DAY)
        up = np.append(ask, (ask // step + 1 + np.arange(LEVELS - 1, dtype=np.int64)) * step)
        down = np.append(bid, (-(-bid // step) - 1 - np.arange(LEVELS - 1, dtype=np.int64)) * step)
        down = down[down > 0]
        return Levels(self._side("bids", down, slot, last.price), self._side("asks", up, slot, last.price))

    def _side(self, side: str, price: Ints, slot: int, around: int) -> Side:
        series = self._series[side]
        age = (words(series, price) % np.uint64(_SLOTS_OF_A_SIZE)).astype(np.int64)
        period = (slot + age) // _SLOTS_OF_A_SIZE
        lots = 1 + np.rint(self._usual(around) * np.exp(0.9 * normal(series, price * 1_000_003 + period)))
        return tuple(zip(price.tolist(), lots.astype(np.int64).tolist(), strict=True))

    def _usual(self, price: int) -> float:
        """Lots of a level: a fortieth of a minute's volume."""
        listing = self.listing
        base = listing.activity / 40
        scale = candles.units(listing)
        if listing.inverse:
            return float(base * price * scale.tick[0] / 10 ** scale.tick[1] / int(listing.contract))
        return float(base * 10 ** scale.lot[1] / scale.lot[0])

    def _step(self, day: int) -> int:
        found = self._steps.get(day)
        if found is None:
            opened = candles.day_of_minutes(self._seed, self.listing, day).open[0]
            found = self._steps[day] = max(1, round(float(opened) * _STEP))
            while len(self._steps) > _REMEMBERED:
                self._steps.pop(next(iter(self._steps)), None)
        return found


def _changed(old: Side, new: Side, depth: int) -> Side:
    before, after = dict(old[:depth]), dict(new[:depth])
    whole = after if depth >= len(new) else dict(new)
    gone = [(price, 0) for price in before if price not in whole]
    return (*gone, *((price, lots) for price, lots in after.items() if before.get(price) != lots))
