"""The simulated market: one seed, every venue, any time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from coinswarm.sandbox.market import candles, latent, options, positioning
from coinswarm.sandbox.market.books import Book
from coinswarm.sandbox.market.listings import LISTINGS
from coinswarm.sandbox.market.model import (
    MINUTE,
    Bar,
    Funding,
    Interest,
    Level,
    Listing,
    OptionQuote,
    Quote,
    Ratio,
)
from coinswarm.sandbox.market.numbers import split, text, to_step
from coinswarm.sandbox.market.revisions import Revisions
from coinswarm.sandbox.market.trades import Tape
from coinswarm.sandbox.protocol import Clock


class SimulatedMarket:
    """`Market` over the hidden paths of one seed, as of the clock's now."""

    def __init__(self, seed: int, clock: Clock, revisions: Revisions, tick_rate: float = 1.0) -> None:
        """Nothing is computed before it is asked for. `tick_rate` multiplies trades and book changes, not volumes."""
        self._seed = seed
        self._now = clock
        self._revisions = revisions
        listings = tuple(_at_rate(x, tick_rate) for x in LISTINGS)
        self._venues = {venue: tuple(x for x in listings if x.venue == venue) for venue in {x.venue for x in listings}}
        self._names = {(x.venue, x.market, x.symbol): x for x in listings}
        self._tapes: dict[tuple[str, str, str], Tape] = {}
        self._books: dict[tuple[str, str, str], Book] = {}

    def listings(self, venue: str) -> tuple[Listing, ...]:
        """Everything listed at a venue."""
        return self._venues.get(venue, ())

    def find(self, venue: str, market: str, symbol: str) -> Listing | None:
        """One listing, or None."""
        return self._names.get((venue, market, symbol))

    def bars(self, listing: Listing, step: int, start: int, end: int, *, shift: int = 0) -> list[Bar]:
        """Bars of length `step` that opened in `[start, end)`, oldest first; the last may still be open."""
        running = self.tape(listing).so_far
        columns = candles.columns(self._seed, listing, step, start, end, self._now(), shift=shift, running=running)
        if columns is None:
            return []
        return self._revisions.bars(listing, step, candles.as_bars(listing, columns))

    def tape(self, listing: Listing) -> Tape:
        """The listing's trades."""
        name = (listing.venue, listing.market, listing.symbol)
        if name not in self._tapes:
            self._tapes.setdefault(name, Tape(self._seed, listing))
        return self._tapes[name]

    def book(self, listing: Listing) -> Book:
        """The listing's order book."""
        name = (listing.venue, listing.market, listing.symbol)
        if name not in self._books:
            self._books.setdefault(name, Book(self._seed, self.tape(listing)))
        return self._books[name]

    def funding(self, listing: Listing, start: int, end: int) -> list[Funding]:
        """Settled funding in `[start, end)`, oldest first."""
        events = positioning.settled(self._seed, listing, start, end, self._now())
        return self._revisions.funding(listing, events)

    def quote(self, listing: Listing, at: int | None = None) -> Quote:
        """The listing now, or at another moment."""
        now = self._now() if at is None else at
        moment = np.array([now], dtype=np.int64)
        mid = float(positioning.mark_prices(self._seed, listing, moment)[0])
        funding, next_ms = positioning.estimate(self._seed, listing, now) if listing.perpetual else ("0", 0)
        mantissa, digits = split(listing.tick)
        below = math.floor(mid * 10**digits / mantissa)
        held = positioning.interest(self._seed, listing, moment)[0].base if listing.perpetual else "0"
        return Quote(
            at_ms=now,
            last=to_step(mid, listing.tick),
            bid=text(below * mantissa, digits),
            ask=text((below + 1) * mantissa, digits),
            mark=to_step(mid, listing.tick),
            index_price=self.index_price(listing.base, listing.quote, now),
            funding=funding,
            next_funding_ms=next_ms,
            open_interest=held,
        )

    def index_price(self, base: str, quote: str, at: int | None = None) -> str:
        """Index price now or at another moment, two decimals (eight if quoted in a coin)."""
        now = self._now() if at is None else at
        minute = now // MINUTE
        ends = np.array([minute, minute + 1], dtype=np.int64)
        path = latent.log_price(self._seed, base, ends) - latent.log_quote(self._seed, quote, ends)
        share = (now % MINUTE) / MINUTE
        price = math.exp(float(path[0] * (1 - share) + path[1] * share))
        return to_step(price, "0.00000001" if quote in latent.ASSETS else "0.01")

    def mark_at(self, listing: Listing, at: int) -> str:
        """Mark price at a moment."""
        moment = np.array([at], dtype=np.int64)
        return to_step(float(positioning.mark_prices(self._seed, listing, moment)[0]), listing.tick)

    def interest(self, listing: Listing, step: int, start: int, end: int) -> list[Interest]:
        """Open interest at multiples of `step`, counted on one side."""
        return positioning.interest(self._seed, listing, self._grid(listing, step, start, end))

    def ratios(self, listing: Listing, kind: str, step: int, start: int, end: int) -> list[Ratio]:
        """Long/short ratios at multiples of `step`."""
        if kind == "taker_volume":
            return positioning.taker_volumes(self._seed, listing, step, start, end, self._now())
        return positioning.account_shares(self._seed, listing, kind, self._grid(listing, step, start, end))

    def volatility(self, asset: str, step: int, start: int, end: int) -> list[Level]:
        """Bars of the 30-day implied volatility index."""
        return options.index_bars(self._seed, asset, step, start, end, self._now())

    def options(self, asset: str, at: int | None = None) -> list[OptionQuote]:
        """Every live option with its quote now, or at another moment."""
        return options.quotes(self._seed, asset, self._now() if at is None else at)

    def _grid(self, listing: Listing, step: int, start: int, end: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        first = -(-max(start, listing.since) // step) * step
        return np.arange(first, min(end, self._now() + 1), step, dtype=np.int64)


def _at_rate(listing: Listing, tick_rate: float) -> Listing:
    if tick_rate == 1:
        return listing
    book_ms = min(5_000, max(20, round(listing.book_ms / tick_rate)))
    return replace(listing, trades=listing.trades * tick_rate, book_ms=book_ms)
