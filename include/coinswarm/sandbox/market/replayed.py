"""A recorded history served as if it were now: spot and perpetual bars of eight hours, and settled funding.

The file's `time` is local time of London, summer time included; its rows are exactly eight hours apart in UTC. Volumes
are in base units. What the file does not hold (trade counts, taker volumes, quotes, ratios) is not invented: counts and
taker volumes are zero on the wire, turnover is volume at the bar's typical price, and everything else is `NotRecorded`.
"""

from __future__ import annotations

import csv
import gzip
import io
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

from coinswarm.sandbox.market.books import Book
from coinswarm.sandbox.market.listings import LISTINGS
from coinswarm.sandbox.market.model import (
    HOUR,
    Bar,
    Funding,
    Interest,
    Level,
    Listing,
    OptionQuote,
    Quote,
    Ratio,
)
from coinswarm.sandbox.market.revisions import Revisions
from coinswarm.sandbox.market.trades import Tape
from coinswarm.sandbox.protocol import Clock, NotRecorded

STEP = 8 * HOUR
_LONDON = ZoneInfo("Europe/London")
_SATOSHI = Decimal("0.00000001")
_ONE = Decimal(1)

# The file's pair, by venue: market and symbol there. `CM` is margined in the coin.
_NAMES = {
    ("binance", "BTC/USDT"): ("spot", "BTCUSDT"),
    ("binance", "ETH/USDT"): ("spot", "ETHUSDT"),
    ("binance", "BTCUSDT"): ("usdm", "BTCUSDT"),
    ("binance", "ETHUSDT"): ("usdm", "ETHUSDT"),
    ("binance", "BTCUSDCM"): ("coinm", "BTCUSD_PERP"),
    ("binance", "ETHUSDCM"): ("coinm", "ETHUSD_PERP"),
    ("okx", "BTC/USDT"): ("spot", "BTC-USDT"),
    ("okx", "ETH/USDT"): ("spot", "ETH-USDT"),
    ("okx", "BTCUSDT"): ("swap", "BTC-USDT-SWAP"),
    ("okx", "ETHUSDT"): ("swap", "ETH-USDT-SWAP"),
    ("okx", "BTCUSDCM"): ("swap", "BTC-USD-SWAP"),
    ("okx", "ETHUSDCM"): ("swap", "ETH-USD-SWAP"),
    ("bybit", "BTC/USDT"): ("spot", "BTCUSDT"),
    ("bybit", "ETH/USDT"): ("spot", "ETHUSDT"),
    ("bybit", "BTCUSDT"): ("linear", "BTCUSDT"),
    ("bybit", "ETHUSDT"): ("linear", "ETHUSDT"),
    ("bybit", "BTCUSDCM"): ("inverse", "BTCUSD"),
    ("bybit", "ETHUSDCM"): ("inverse", "ETHUSD"),
}


@dataclass(slots=True)
class Series:
    """All rows of one listing, oldest first."""

    listing: Listing
    bars: list[Bar] = field(default_factory=list)
    funding: list[Funding] = field(default_factory=list)


def local_to_milliseconds(text: str) -> int:
    """A London wall-clock time of the file as milliseconds since the epoch (the earlier one where it is ambiguous)."""
    return int(datetime.fromisoformat(text).replace(tzinfo=_LONDON, fold=0).astimezone(UTC).timestamp() * 1000)


def read_history(path: Path) -> dict[tuple[str, str, str], Series]:
    """Series of a history file (.csv or .csv.gz) by (venue, market, symbol).

    Raises:
        ValueError: a column is missing, a row names an unknown pair, or a series is not in eight-hour steps.
    """
    listings = {(x.venue, x.market, x.symbol): x for x in LISTINGS}
    history: dict[tuple[str, str, str], Series] = {}
    for number, row in enumerate(_rows(path), start=2):
        try:
            name = _NAMES[row["exchange"], row["pair"]]
            where = (row["exchange"], *name)
            at = local_to_milliseconds(row["time"])
            rate = row["funding rate"]
            series = history.setdefault(where, Series(replace(listings[where], since=at)))
            series.bars.append(_bar(series.listing, at, row))
            if rate:
                series.funding.append(Funding(at, format(Decimal(rate), "f"), None))
        except (KeyError, ValueError, ArithmeticError) as error:
            raise ValueError(f"{path.name} line {number}: {error!r}") from error
    for where, series in history.items():
        times = [bar.open_ms for bar in series.bars]
        if any(late - early != STEP for early, late in pairwise(times)):
            raise ValueError(f"{path.name}: {'/'.join(where)} is not in steps of eight hours")
    return history


def _rows(path: Path) -> Iterator[dict[str, str]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    yield from csv.DictReader(io.StringIO(content.decode(), newline=""))


def _bar(listing: Listing, at: int, row: dict[str, str]) -> Bar:
    base = Decimal(row["volume"])
    typical = (Decimal(row["high"]) + Decimal(row["low"]) + Decimal(row["close"])) / 3
    turnover = base * typical
    if listing.inverse:
        contracts = (turnover / int(listing.contract)).quantize(_ONE, ROUND_HALF_EVEN)
    else:
        contracts = base / Decimal(listing.contract)
    return Bar(
        open_ms=at,
        open=row["open"],
        high=row["high"],
        low=row["low"],
        close=row["close"],
        base=row["volume"],
        quote=format(turnover.quantize(_SATOSHI, ROUND_HALF_EVEN), "f"),
        contracts=format(contracts, "f"),
        trades=0,
        taker_base="0",
        taker_quote="0",
    )


class ReplayedMarket:
    """`Market` over a history file: nothing after the clock's now is shown, and the running bar is not yet there."""

    def __init__(self, history: dict[tuple[str, str, str], Series], clock: Clock, revisions: Revisions) -> None:
        """Serve what `read_history` read."""
        self._history = history
        self._now = clock
        self._revisions = revisions

    def listings(self, venue: str) -> tuple[Listing, ...]:
        """Everything recorded of a venue."""
        return tuple(series.listing for series in self._history.values() if series.listing.venue == venue)

    def find(self, venue: str, market: str, symbol: str) -> Listing | None:
        """One listing, or None."""
        series = self._history.get((venue, market, symbol))
        return None if series is None else series.listing

    def bars(self, listing: Listing, step: int, start: int, end: int, *, shift: int = 0) -> list[Bar]:
        """Recorded bars that opened in `[start, end)` and closed by now; the history has eight-hour bars only."""
        if step != STEP:
            raise NotRecorded(f"the history has bars of 8 h, not of {step // 60_000} min")
        bars = self._series(listing).bars
        first = bisect_left(bars, start, key=lambda bar: bar.open_ms)
        last = bisect_left(bars, min(end, self._now() - STEP + 1), key=lambda bar: bar.open_ms)
        return self._revisions.bars(listing, step, bars[first:last])

    def funding(self, listing: Listing, start: int, end: int) -> list[Funding]:
        """Recorded settled funding in `[start, end)`, not after now."""
        events = self._series(listing).funding
        first = bisect_left(events, start, key=lambda event: event.at_ms)
        last = bisect_left(events, min(end, self._now() + 1), key=lambda event: event.at_ms)
        return self._revisions.funding(listing, events[first:last])

    def tape(self, listing: Listing) -> Tape:
        """Not in the file."""
        raise NotRecorded(f"the history has no trades of {listing.symbol}")

    def book(self, listing: Listing) -> Book:
        """Not in the file."""
        raise NotRecorded(f"the history has no order books of {listing.symbol}")

    def quote(self, listing: Listing, at: int | None = None) -> Quote:
        """Not in the file."""
        raise NotRecorded(f"the history has no quotes of {listing.symbol}")

    def index_price(self, base: str, quote: str, at: int | None = None) -> str:
        """Not in the file."""
        raise NotRecorded(f"the history has no index of {base}-{quote}")

    def mark_at(self, listing: Listing, at: int) -> str:
        """Not in the file."""
        raise NotRecorded(f"the history has no mark prices of {listing.symbol}")

    def interest(self, listing: Listing, step: int, start: int, end: int) -> list[Interest]:
        """Not in the file."""
        raise NotRecorded(f"the history has no open interest of {listing.symbol}")

    def ratios(self, listing: Listing, kind: str, step: int, start: int, end: int) -> list[Ratio]:
        """Not in the file."""
        raise NotRecorded(f"the history has no {kind} ratios of {listing.symbol}")

    def volatility(self, asset: str, step: int, start: int, end: int) -> list[Level]:
        """Not in the file."""
        raise NotRecorded(f"the history has no volatility index of {asset}")

    def options(self, asset: str, at: int | None = None) -> list[OptionQuote]:
        """Not in the file."""
        raise NotRecorded(f"the history has no options of {asset}")

    def _series(self, listing: Listing) -> Series:
        return self._history[listing.venue, listing.market, listing.symbol]
