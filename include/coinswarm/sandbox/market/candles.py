"""Bars of every length from one-minute bars: integers in ticks and lots, so that sums are exact at any length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from coinswarm.sandbox.market import latent
from coinswarm.sandbox.market.model import HOUR, MINUTE, Bar, Listing
from coinswarm.sandbox.market.numbers import split, text
from coinswarm.sandbox.randomness import Floats, Ints, key, normal, uniform

# A minute divisible by five always trades, so that every longer bar starts with a trade and a quiet minute can look
# back at most four minutes for the last price.
_ALWAYS_TRADES = 5
_DAY = 1440
# Trades come in threes: a taker order that met two others, and one that met one (see `trades`). Two of each are the
# least that shows open, high, low and close.
ROUND = 3
_FEWEST_ROUNDS = 2
_HOURS_A_CHUNK = 720
_WEEK = 7 * 24 * HOUR
_MONDAY = 4 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Columns:
    """Parallel arrays of bars: prices in ticks, `lots`, `base` and `quote` in the units of `units(listing)`."""

    open_ms: Ints
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    lots: Ints
    base: Ints
    quote: Ints
    trades: Ints
    taker_base: Ints
    taker_quote: Ints

    def __len__(self) -> int:
        return len(self.open_ms)

    def part(self, rows: slice) -> Columns:
        """Some consecutive rows."""
        return Columns(*(getattr(self, name)[rows] for name in self.__slots__))


class SoFar(NamedTuple):
    """The trades of a minute that runs: prices in ticks, turnovers in ticks x lots, takers that bought apart."""

    open: int
    high: int
    low: int
    close: int
    lots: int
    bought: int
    turnover: int
    bought_turnover: int
    trades: int


Running = Callable[[int, int], SoFar | None]
"""What was traded of a minute (since the epoch) after that many of its milliseconds."""


@dataclass(frozen=True, slots=True)
class Units:
    """Scale of a listing's integers: a tick is `tick[0]` x 10**-`tick[1]`; `base` and `quote` count 10**-digits."""

    tick: tuple[int, int]
    lot: tuple[int, int]
    base_digits: int
    quote_digits: int


@lru_cache(maxsize=256)
def units(listing: Listing) -> Units:
    """The scale of a listing."""
    tick, lot = split(listing.tick), split(listing.lot)
    if listing.inverse:
        return Units(tick, lot, base_digits=8, quote_digits=0)
    # Very fine lots would overflow 64 bits in sums of price x size: dealt sizes are then multiples of a coarser lot.
    if lot[1] > 6:
        lot = (1, 6)
    return Units(tick, lot, base_digits=lot[1], quote_digits=lot[1] + tick[1])


def mid(seed: int, listing: Listing, minute: Ints) -> Floats:
    """A venue's mid price at the starts of ascending minutes."""
    path = latent.log_price(seed, listing.base, minute) - latent.log_quote(seed, listing.quote, minute)
    path = path + latent.venue_basis(seed, listing.venue, listing.market, listing.symbol, minute)
    if listing.perpetual:
        path = path + latent.premium(seed, listing.venue, listing.base, minute)
    return np.asarray(np.exp(path))


def trades_a_day(listing: Listing) -> int:
    """Trades of each day: the same number, so that the number of a trade follows from its time without counting."""
    usual = _DAY * listing.trades * (1 - listing.quiet) ** 4 / ROUND
    return ROUND * max(_FEWEST_ROUNDS * _DAY, round(usual))


def minutes(seed: int, listing: Listing, first: int, last: int) -> Columns:
    """Final one-minute bars of minutes `first .. last - 1`."""
    day, end = first // _DAY, -(-last // _DAY)
    if end - day <= 2:
        days = [day_of_minutes(seed, listing, number) for number in range(day, end)]
        bars = days[0] if len(days) == 1 else _joined(days)
    else:
        bars = _minutes(seed, listing, day * _DAY, end * _DAY)
    return bars.part(slice(first - day * _DAY, last - day * _DAY))


@lru_cache(maxsize=192)
def day_of_minutes(seed: int, listing: Listing, day: int) -> Columns:
    """The one-minute bars of a day (counted since the epoch)."""
    return _minutes(seed, listing, day * _DAY, (day + 1) * _DAY)


def _counts(listing: Listing, volume: Floats, traded: npt.NDArray[np.bool_]) -> Ints:
    """Trades of each minute of whole days, by its volume; they add up to `trades_a_day`."""
    weight = np.where(traded, volume, 0.0).reshape(-1, _DAY)
    spare = trades_a_day(listing) // ROUND - _FEWEST_ROUNDS * traded.reshape(-1, _DAY).sum(axis=1, keepdims=True)
    sums = np.cumsum(weight, axis=1)
    # The last minutes' share is exactly one, so that all of them are given out.
    rounds = np.floor(sums / sums[:, -1:] * spare).astype(np.int64)
    extra = np.diff(rounds, axis=1, prepend=0).ravel()
    return np.asarray(ROUND * (_FEWEST_ROUNDS * traded + extra), dtype=np.int64)


def _minutes(seed: int, listing: Listing, first: int, last: int) -> Columns:
    scale = units(listing)
    names = (listing.venue, listing.market, listing.symbol)
    minute = np.arange(first, last, dtype=np.int64)
    path = mid(seed, listing, np.arange(first, last + 1, dtype=np.int64)) * (10 ** scale.tick[1] / scale.tick[0])
    opened = np.rint(path[:-1]).astype(np.int64)
    closed = np.rint(path[1:]).astype(np.int64)

    regime = latent.regime(seed, listing.base, minute)
    reach = 0.0003 * regime
    up = np.abs(normal(key(seed, *names, "up"), minute)) * reach
    down = np.abs(normal(key(seed, *names, "down"), minute)) * reach
    high = np.maximum(opened, closed) + np.floor(path[:-1] * up).astype(np.int64)
    low = np.minimum(opened, closed) - np.floor(path[:-1] * down).astype(np.int64)

    move = np.abs(np.log(path[1:] / path[:-1])) / 0.0006
    day = 1.0 + 0.45 * np.sin(2 * np.pi * ((minute % 1440) / 1440 - 0.35))
    volume = listing.activity * day * regime * (0.5 + 0.6 * move)
    volume = volume * np.exp(0.6 * normal(key(seed, *names, "volume"), minute) - 0.18)
    typical = (opened + high + low + closed) // 4
    price = typical * (scale.tick[0] / 10 ** scale.tick[1])
    if listing.inverse:
        lots = np.maximum(1, np.rint(volume * price / float(listing.contract))).astype(np.int64)
    else:
        lots = np.maximum(1, np.rint(volume * (10 ** scale.lot[1] / scale.lot[0]))).astype(np.int64)

    traded = np.ones(len(minute), dtype=np.bool_)
    if listing.quiet:
        traded = (uniform(key(seed, *names, "quiet"), minute) >= listing.quiet) | (minute % _ALWAYS_TRADES == 0)
    trades = _counts(listing, volume, traded)
    lots = np.maximum(lots, trades)
    taker = np.rint(lots * (0.5 + 0.35 * np.tanh((closed - opened) / np.maximum(1.0, high - low)))).astype(np.int64)
    taker = np.clip(taker + np.rint(lots * 0.04 * normal(key(seed, *names, "taker"), minute)).astype(np.int64), 0, lots)

    if listing.quiet:
        # A quiet bar repeats the last traded price; a day's first minute always trades.
        last_traded = np.maximum.accumulate(np.where(traded, np.arange(len(minute)), 0))
        carried = closed[last_traded]
        opened, closed = np.where(traded, opened, carried), np.where(traded, closed, carried)
        high, low = np.where(traded, high, carried), np.where(traded, low, carried)
        lots, taker = np.where(traded, lots, 0), np.where(traded, taker, 0)

    base, quote = _amounts(listing, scale, lots, typical)
    taker_base, taker_quote = _amounts(listing, scale, taker, typical)
    return Columns(minute * MINUTE, opened, high, low, closed, lots, base, quote, trades, taker_base, taker_quote)


def _amounts(listing: Listing, scale: Units, lots: Ints, typical: Ints) -> tuple[Ints, Ints]:
    if not listing.inverse:
        base = lots * scale.lot[0]
        return base, base * typical * scale.tick[0]
    dollars = lots * int(listing.contract)
    price = typical * (scale.tick[0] / 10 ** scale.tick[1])
    return np.rint(dollars * 1e8 / price).astype(np.int64), dollars


def combine(bars: Columns, starts: Ints, open_ms: Ints) -> Columns:
    """Longer bars: group `i` is rows `starts[i]` up to `starts[i + 1]`."""
    ends = np.append(starts[1:], len(bars)) - 1
    return Columns(
        open_ms,
        bars.open[starts],
        np.maximum.reduceat(bars.high, starts),
        np.minimum.reduceat(bars.low, starts),
        bars.close[ends],
        *(np.add.reduceat(getattr(bars, name), starts) for name in Columns.__slots__[5:]),
    )


@lru_cache(maxsize=512)
def _hours(seed: int, listing: Listing, chunk: int) -> Columns:
    first = chunk * _HOURS_A_CHUNK * 60
    bars = minutes(seed, listing, first, first + _HOURS_A_CHUNK * 60)
    starts = np.arange(0, len(bars), 60, dtype=np.int64)
    return combine(bars, starts, bars.open_ms[starts])


def _joined(parts: list[Columns]) -> Columns:
    return Columns(*(np.concatenate([getattr(part, name) for part in parts]) for name in Columns.__slots__))


def floor(at: int, step: int, shift: int = 0) -> int:
    """Start of the bar that contains `at`: aligned to the epoch plus `shift`, weeks to Monday."""
    shift += _MONDAY if step % _WEEK == 0 else 0
    return (at - shift) // step * step + shift


def _finest(seed: int, listing: Listing, start: int, end: int, *, hourly: bool) -> Columns:
    """Final hour or minute bars that opened in `[start, end)`."""
    if not hourly:
        return minutes(seed, listing, start // MINUTE, end // MINUTE)
    chunk = _HOURS_A_CHUNK * HOUR
    parts = []
    for number in range(start // chunk, (end - 1) // chunk + 1):
        offset = number * chunk
        rows = slice(max(0, start - offset) // HOUR, min(chunk, end - offset) // HOUR)
        parts.append(_hours(seed, listing, number).part(rows))
    return _joined(parts)


def columns(
    seed: int,
    listing: Listing,
    step: int,
    start: int,
    end: int,
    now: int,
    *,
    shift: int = 0,
    running: Running = lambda minute, elapsed: None,
) -> Columns | None:
    """Bars of `step` opened in `[start, end)` and not after `now`; the last one may be unfinished. None if none."""
    first = floor(max(start, listing.since) + step - 1, step, shift)
    last = min(end - 1, now)
    if last < first:
        return None
    stop = floor(last, step, shift) + step
    parts: list[Columns] = []
    if stop <= now:
        parts.append(_finest(seed, listing, first, stop, hourly=step % HOUR == 0))
    else:
        hour = now // HOUR * HOUR if step % HOUR == 0 else now // MINUTE * MINUTE
        if hour > first:
            parts.append(_finest(seed, listing, first, hour, hourly=step % HOUR == 0))
        rest = max(hour, first)
        minute = now // MINUTE * MINUTE
        if minute > rest:
            parts.append(minutes(seed, listing, rest // MINUTE, minute // MINUTE))
        final = minutes(seed, listing, minute // MINUTE, minute // MINUTE + 1)
        parts.append(_unfinished(listing, final, running(minute // MINUTE, now - minute)))
    bars = _joined(parts)
    shift += _MONDAY if step % _WEEK == 0 else 0
    slots = (bars.open_ms - shift) // step
    starts = np.flatnonzero(np.diff(slots, prepend=slots[0] - 1))
    return combine(bars, starts, slots[starts] * step + shift)


def _unfinished(listing: Listing, bar: Columns, traded: SoFar | None) -> Columns:
    """The bar of the trades so far; before the first one it stands at its opening price."""
    if traded is None:
        nothing = np.zeros(1, dtype=np.int64)
        return Columns(bar.open_ms, *(bar.open for _ in range(4)), *(nothing for _ in range(6)))
    scale = units(listing)
    amounts = []
    for lots, turnover in ((traded.lots, traded.turnover), (traded.bought, traded.bought_turnover)):
        if listing.inverse:
            dollars = lots * int(listing.contract)
            price = turnover / max(lots, 1) * (scale.tick[0] / 10 ** scale.tick[1])
            amounts.append((round(dollars * 1e8 / price) if lots else 0, dollars))
        else:
            amounts.append((lots * scale.lot[0], turnover * scale.lot[0] * scale.tick[0]))
    (base, quote), (taker_base, taker_quote) = amounts
    row = (*traded[:5], base, quote, traded.trades, taker_base, taker_quote)
    return Columns(bar.open_ms, *(np.array([value], dtype=np.int64) for value in row))


def taker_lots(listing: Listing, bars: Columns, row: int) -> int:
    """Lots that takers bought in a bar."""
    if listing.inverse:
        return int(bars.taker_quote[row]) // int(listing.contract)
    return int(bars.taker_base[row]) // units(listing).lot[0]


def as_bars(listing: Listing, bars: Columns) -> list[Bar]:
    """Exact text of each row."""
    scale = units(listing)
    mantissa, digits = scale.tick
    per_contract = None if listing.inverse else split(listing.contract)
    rows = []
    for row in zip(*(getattr(bars, name).tolist() for name in Columns.__slots__), strict=True):
        open_ms, opened, high, low, closed, lots, base, quote, trades, taker_base, taker_quote = row
        base_text = text(base, scale.base_digits)
        if per_contract is None:
            contracts = str(lots)
        elif per_contract == (1, 0):
            contracts = base_text
        else:
            # Contract sizes of linear swaps are powers of ten below one.
            contracts = text(base, scale.base_digits - per_contract[1])
        rows.append(
            Bar(
                open_ms,
                text(opened * mantissa, digits),
                text(high * mantissa, digits),
                text(low * mantissa, digits),
                text(closed * mantissa, digits),
                base_text,
                text(quote, scale.quote_digits),
                contracts,
                trades,
                text(taker_base, scale.base_digits),
                text(taker_quote, scale.quote_digits),
            )
        )
    return rows
