"""Bars of every length from one-minute bars: integers in ticks and lots, so that sums are exact at any length."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from coinswarm.sandbox.market import latent
from coinswarm.sandbox.market.model import HOUR, MINUTE, Bar, Listing
from coinswarm.sandbox.market.numbers import split, text
from coinswarm.sandbox.randomness import Floats, Ints, key, normal, uniform

# A minute divisible by five always trades, so that every longer bar starts with a trade and a quiet minute can look
# back at most four minutes for the last price.
_ALWAYS_TRADES = 5
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


def minutes(seed: int, listing: Listing, first: int, last: int) -> Columns:
    """Final one-minute bars of minutes `first .. last - 1`."""
    start = first - first % _ALWAYS_TRADES
    bars = _minutes(seed, listing, start, last)
    return bars.part(slice(first - start, None))


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
    taker = np.rint(lots * (0.5 + 0.35 * np.tanh((closed - opened) / np.maximum(1.0, high - low)))).astype(np.int64)
    taker = np.clip(taker + np.rint(lots * 0.04 * normal(key(seed, *names, "taker"), minute)).astype(np.int64), 0, lots)
    trades = np.minimum(1 + np.rint(volume / listing.activity * 300 * (1 - listing.quiet) ** 4).astype(np.int64), lots)

    if listing.quiet:
        silent = (uniform(key(seed, *names, "quiet"), minute) < listing.quiet) & (minute % _ALWAYS_TRADES != 0)
        # A quiet bar repeats the last traded price; `first` always trades.
        last_traded = np.maximum.accumulate(np.where(silent, 0, np.arange(len(minute))))
        carried = closed[last_traded]
        opened, closed = np.where(silent, carried, opened), np.where(silent, carried, closed)
        high, low = np.where(silent, carried, high), np.where(silent, carried, low)
        lots, taker, trades = np.where(silent, 0, lots), np.where(silent, 0, taker), np.where(silent, 0, trades)

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


def columns(seed: int, listing: Listing, step: int, start: int, end: int, now: int, shift: int = 0) -> Columns | None:
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
        running = max(hour, first)
        minute = now // MINUTE * MINUTE
        if minute > running:
            parts.append(minutes(seed, listing, running // MINUTE, minute // MINUTE))
        parts.append(_unfinished(listing, minutes(seed, listing, minute // MINUTE, minute // MINUTE + 1), now - minute))
    bars = _joined(parts)
    shift += _MONDAY if step % _WEEK == 0 else 0
    slots = (bars.open_ms - shift) // step
    starts = np.flatnonzero(np.diff(slots, prepend=slots[0] - 1))
    return combine(bars, starts, slots[starts] * step + shift)


def _unfinished(listing: Listing, bar: Columns, elapsed: int) -> Columns:
    """The first `elapsed` milliseconds of a minute: inside the final bar's range, with a share of its volume."""
    opened, closed = bar.open, bar.open + (bar.close - bar.open) * elapsed // MINUTE
    lots, trades = bar.lots * elapsed // MINUTE, bar.trades * elapsed // MINUTE
    lots = np.where(trades == 0, 0, lots)
    taker = np.where(bar.lots == 0, 0, lots * bar.taker_base // np.maximum(bar.base, 1))
    scale, middle = units(listing), (opened + closed) // 2
    base, quote = _amounts(listing, scale, lots, middle)
    taker_base, taker_quote = _amounts(listing, scale, taker, middle)
    high, low = np.maximum(opened, closed), np.minimum(opened, closed)
    return Columns(bar.open_ms, opened, high, low, closed, lots, base, quote, trades, taker_base, taker_quote)


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
