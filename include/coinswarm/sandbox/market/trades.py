"""The trades of a listing: those of a minute add up to its bar, and their numbers are consecutive over all time.

Each day has the same number of trades, so the number of a trade follows from its time (and back) with no more than
one day's bars. A taker order meets two others and the next one meets one, and so on: every third trade is alone. What
venues call an aggregate trade is one such order, and its numbers follow from those of its trades.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from coinswarm.sandbox.market import candles
from coinswarm.sandbox.market.candles import ROUND, Columns, SoFar
from coinswarm.sandbox.market.model import DAY, MINUTE, Listing
from coinswarm.sandbox.market.numbers import split, text
from coinswarm.sandbox.randomness import Ints, key, normal, uniform

_MINUTES_A_DAY = DAY // MINUTE
_MINUTE_US = MINUTE * 1000
# Orders of a round and the trades of each.
_PAIR, _SINGLE = 2, 1
_FORCED_EVERY = 150
_REMEMBERED_MINUTES = 6
_REMEMBERED_DAYS = 24


Kept = TypeVar("Kept")


class Trade(NamedTuple):
    """One execution: price in ticks, size in lots of the listing; `buy` if the taker bought."""

    id: int
    at_us: int
    price: int
    lots: int
    buy: bool

    @property
    def at_ms(self) -> int:
        """Milliseconds since the epoch."""
        return self.at_us // 1000


class Aggregate(NamedTuple):
    """One taker order: trades `first` to `last`, of one price."""

    id: int
    first: int
    last: int
    at_us: int
    price: int
    lots: int
    buy: bool

    @property
    def at_ms(self) -> int:
        """Milliseconds since the epoch, of its first trade."""
        return self.at_us // 1000


class _Minute(NamedTuple):
    first_id: int
    at_us: Ints
    price: Ints
    lots: Ints
    buy: npt.NDArray[np.bool_]


class _Day(NamedTuple):
    bars: Columns
    counted: Ints  # trades before each minute, and of the whole day


class Words(NamedTuple):
    """How a listing's integers are written."""

    tick: tuple[int, int]
    lot: tuple[int, int]
    contract: tuple[int, int]


class Tape:
    """All trades of a listing. Numbers begin with 1 at the listing's first day; moments are microseconds."""

    def __init__(self, seed: int, listing: Listing) -> None:
        """Nothing is computed before it is asked for."""
        self.listing = listing
        self._seed = seed
        self._names = (listing.venue, listing.market, listing.symbol)
        self._a_day = candles.trades_a_day(listing)
        self._first_day = listing.since // DAY
        self._minutes: dict[int, _Minute] = {}
        self._days: dict[int, _Day] = {}
        scale = candles.units(listing)
        contract = split(listing.contract)
        self._words = Words(scale.tick, scale.lot, contract)

    @property
    def lot(self) -> tuple[int, int]:
        """A lot of a linear or spot listing: so many units of 10**-digits."""
        return self._words.lot

    # ---- text

    def price(self, ticks: int) -> str:
        """A price, without trailing zeros."""
        mantissa, digits = self._words.tick
        return text(ticks * mantissa, digits)

    def size(self, lots: int) -> str:
        """A size in the steps of the listing: base units, or contracts if those are in dollars."""
        if self.listing.inverse:
            return str(lots)
        mantissa, digits = self._words.lot
        return text(lots * mantissa, digits)

    def contracts(self, lots: int) -> str:
        """A size in contracts."""
        if self.listing.inverse:
            return str(lots)
        # Contract sizes of linear swaps are powers of ten.
        mantissa, digits = self._words.lot
        return text(lots * mantissa, digits - self._words.contract[1])

    # ---- numbers and moments

    def count_before(self, at_us: int) -> int:
        """How many trades there were before a moment, which is the number of the last of them."""
        minute, offset = divmod(at_us, _MINUTE_US)
        number, minute_of_day = divmod(minute, _MINUTES_A_DAY)
        if number < self._first_day:
            return 0
        before = (number - self._first_day) * self._a_day + int(self._day(number).counted[minute_of_day])
        if not offset:
            return before
        return before + int(np.searchsorted(self._minute(minute).at_us, at_us))

    def take(self, first: int, last: int) -> Iterator[Trade]:
        """Trades by number, both ends included."""
        first = max(first, 1)
        while first <= last:
            minute = self._minute(self._minute_of(first))
            start = first - minute.first_id
            stop = min(len(minute.at_us), last - minute.first_id + 1)
            yield from map(
                Trade,
                range(first, minute.first_id + stop),
                minute.at_us[start:stop].tolist(),
                minute.price[start:stop].tolist(),
                minute.lots[start:stop].tolist(),
                minute.buy[start:stop].tolist(),
            )
            first = minute.first_id + stop

    def between(self, start_us: int, end_us: int) -> Iterator[Trade]:
        """Trades of `[start, end)`."""
        return self.take(self.count_before(start_us) + 1, self.count_before(end_us))

    def at(self, number: int) -> Trade:
        """One trade."""
        return next(self.take(number, number))

    def lots_between(self, first: int, last: int) -> int:
        """Sizes of trades `first` to `last`, added up."""
        first, total = max(first, 1), 0
        while first <= last:
            number, offset = divmod(first - 1, self._a_day)
            day = self._day(number + self._first_day)
            if offset == 0 and last - first + 1 >= self._a_day:
                total += int(day.bars.lots.sum())
                first += self._a_day
                continue
            minute = self._minute(self._minute_of(first))
            start, stop = first - minute.first_id, min(len(minute.at_us), last - minute.first_id + 1)
            total += int(minute.lots[start:stop].sum())
            first = minute.first_id + stop
        return total

    # ---- aggregates: of each three trades, the first two are one order and the third another

    @staticmethod
    def aggregate_of(number: int) -> int:
        """The order that a trade belongs to."""
        group, place = divmod(number - 1, ROUND)
        return 2 * group + (1 if place < _PAIR else 2)

    @staticmethod
    def members(aggregate: int) -> tuple[int, int]:
        """First and last trade of an order."""
        group, place = divmod(aggregate - 1, 2)
        first = ROUND * group + 1
        return (first + _PAIR, first + _PAIR) if place else (first, first + _PAIR - 1)

    def aggregates(self, first: int, last: int) -> Iterator[Aggregate]:
        """Orders by their own numbers, both ends included."""
        first = max(first, 1)
        if last < first:
            return
        pending: Trade | None = None
        for trade in self.take(self.members(first)[0], self.members(last)[1]):
            place = (trade.id - 1) % ROUND
            if place == 0:
                pending = trade
                continue
            head = pending if place < _PAIR and pending is not None else trade
            lots = trade.lots if head is trade else head.lots + trade.lots
            yield Aggregate(self.aggregate_of(head.id), head.id, trade.id, head.at_us, head.price, lots, head.buy)

    def complete_aggregates(self, count: int) -> int:
        """How many orders are whole when `count` trades have been."""
        group, place = divmod(count, ROUND)
        return 2 * group + (1 if place >= _PAIR else 0)

    def forced(self, trade: Trade | Aggregate) -> bool:
        """Whether the taker was liquidated; on perpetuals, about one order in a hundred and fifty."""
        if not self.listing.perpetual:
            return False
        first = trade.first if isinstance(trade, Aggregate) else trade.id
        order = self.aggregate_of(first)
        draw = uniform(key(self._seed, *self._names, "forced"), np.array([order], dtype=np.int64))
        return float(draw[0]) * _FORCED_EVERY < 1

    # ---- the running bar

    def so_far(self, minute: int, elapsed_ms: int) -> SoFar | None:
        """The trades of a minute up to and including a millisecond of it; None if there was none yet."""
        trades = self._minute(minute)
        stop = int(np.searchsorted(trades.at_us, minute * _MINUTE_US + (elapsed_ms + 1) * 1000))
        if not stop:
            return None
        price, lots = trades.price[:stop], trades.lots[:stop]
        bought = np.where(trades.buy[:stop], lots, 0)
        return SoFar(
            int(price[0]),
            int(price.max()),
            int(price.min()),
            int(price[-1]),
            int(lots.sum()),
            int(bought.sum()),
            int((price * lots).sum()),
            int((price * bought).sum()),
            stop,
        )

    # ---- inside

    def _day(self, number: int) -> _Day:
        found = self._days.get(number)
        if found is None:
            bars = candles.day_of_minutes(self._seed, self.listing, number)
            found = _Day(bars, np.concatenate([[0], np.cumsum(bars.trades)]))
            _remember(self._days, number, found, _REMEMBERED_DAYS)
        return found

    def _minute_of(self, number: int) -> int:
        day, offset = divmod(number - 1, self._a_day)
        day += self._first_day
        return day * _MINUTES_A_DAY + int(np.searchsorted(self._day(day).counted, offset, side="right")) - 1

    def _minute(self, minute: int) -> _Minute:
        found = self._minutes.get(minute)
        if found is None:
            found = self._dealt(minute)
            _remember(self._minutes, minute, found, _REMEMBERED_MINUTES)
        return found

    def _dealt(self, minute: int) -> _Minute:
        number, of_day = divmod(minute, _MINUTES_A_DAY)
        day = self._day(number)
        first_id = (number - self._first_day) * self._a_day + int(day.counted[of_day]) + 1
        count = int(day.bars.trades[of_day])
        if not count:
            empty = np.zeros(0, dtype=np.int64)
            return _Minute(first_id, empty, empty, empty, empty.astype(np.bool_))
        row = {name: int(getattr(day.bars, name)[of_day]) for name in ("open", "high", "low", "close", "lots")}
        bought = candles.taker_lots(self.listing, day.bars, of_day)
        series = key(self._seed, *self._names, "trades", minute)
        orders = 2 * count // ROUND
        members = np.tile(np.array([_PAIR, _SINGLE], dtype=np.int64), orders // 2)
        # Draws of each purpose have indices of their own.
        index = np.arange(max(orders, count), dtype=np.int64)

        spread = np.sort(uniform(series, index[:orders] * 4)) * (_MINUTE_US - count)
        at_us = minute * _MINUTE_US + np.repeat(spread.astype(np.int64), members) + np.arange(count, dtype=np.int64)

        price = _prices(series, orders, row)
        buy = _sides(uniform(series, index[:orders] * 4 + 2), count, row["lots"], bought)
        weight = np.exp(0.9 * normal(series, index[:count] * 4 + 3))
        bought_by = np.repeat(buy, members)
        lots = np.zeros(count, dtype=np.int64)
        lots[bought_by] = _parts(weight[bought_by], bought)
        lots[~bought_by] = _parts(weight[~bought_by], row["lots"] - bought)
        return _Minute(first_id, at_us, np.repeat(price, members), lots, bought_by)


def _prices(series: np.uint64, orders: int, row: dict[str, int]) -> Ints:
    """From open to close, with the high and the low at some order between, and a little noise within the range."""
    low, high = row["low"], row["high"]
    draw = uniform(series, np.array([1, 5], dtype=np.int64)).tolist()
    first = 1 + int(draw[0] * (orders - 2))
    second = 1 + int(draw[1] * (orders - 3))
    second += second >= first
    places = sorted([(0, row["open"]), (first, high), (second, low), (orders - 1, row["close"])])
    place, level = np.array(places).T
    index = np.arange(orders, dtype=np.int64)
    path = np.interp(index, place, level) + normal(series, index * 4 + 9) * (high - low) * 0.04
    price = np.clip(np.rint(path).astype(np.int64), low, high)
    price[place] = level
    return np.asarray(price, dtype=np.int64)


def _sides(draw: npt.NDArray[np.float64], count: int, lots: int, bought: int) -> npt.NDArray[np.bool_]:
    """Which orders buy: as many trades as the bought lots suffice for, and as those that were sold."""
    sold = lots - bought
    least, most = max(int(bought > 0), count - sold), min(bought, count - int(sold > 0))
    wanted = min(max(round(count * bought / lots), least), most)
    pairs, singles = divmod(wanted, ROUND)
    singles += pairs
    if singles > count // ROUND:
        pairs, singles = pairs + 1, singles - _PAIR
    buy = np.zeros(len(draw), dtype=np.bool_)
    for offset, number in ((0, pairs), (1, singles)):
        chosen = np.argsort(draw[offset::2], kind="stable")[:number]
        buy[offset::2][chosen] = True
    return buy


def _parts(weight: npt.NDArray[np.float64], lots: int) -> Ints:
    """`lots` in as many parts as there are weights, each at least one."""
    if not len(weight):
        return np.zeros(0, dtype=np.int64)
    sums = np.cumsum(weight)
    spare = lots - len(weight)
    ends = np.floor(sums * (spare / sums[-1])).astype(np.int64)
    ends[-1] = spare
    return np.asarray(1 + np.diff(np.minimum(ends, spare), prepend=0), dtype=np.int64)


def _remember(store: dict[int, Kept], name: int, value: Kept, limit: int) -> None:
    # Several threads may be here: a copy is taken of what another one may change.
    for oldest in list(store)[: max(0, len(store) - limit + 1)]:
        store.pop(oldest, None)
    store[name] = value
