"""Venue symbols to canonical ones, and native sizes to base units."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from decimal import Decimal

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import product, quotient

_OPEN_LIMIT = 10_000
_REMEMBERED = 4096
_VENUE_SYMBOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+@/-]{0,79}")


class Market:
    """One instrument as a venue's frames speak of it."""

    __slots__ = ("_bases", "_size", "asset", "by_price", "listed", "symbol", "unit")

    def __init__(self, instrument: Instrument | None, symbol: str) -> None:
        """`instrument` None: not listed, sizes stay as the venue counts them."""
        self.symbol = symbol
        self.listed = instrument is not None
        self.asset = instrument.base if instrument else symbol
        self._size = instrument.contract_size if instrument else Decimal(1)
        self.by_price = instrument is not None and instrument.contract_unit != instrument.base
        self.unit = not self.by_price and self._size == 1
        self._bases: dict[str, str] = {}

    def base(self, native: str, price: str) -> str:
        """Native size in base units; exact, or to 12 decimals where a contract is in quote units.

        Raises:
            MalformedFrame: it takes a price, and that is zero.
        """
        if self.unit:
            return native
        if self.by_price:
            return quotient(native, self._size, price)
        # Sizes in contracts repeat all the time.
        known = self._bases.get(native)
        if known is None:
            if len(self._bases) >= _REMEMBERED:
                self._bases.clear()
            known = self._bases[native] = product(native, self._size)
        return known


class Markets(dict[str, Market]):
    """Markets by venue symbol; a symbol that is not listed is missing."""

    @classmethod
    def of(
        cls,
        instruments: Iterable[Instrument] | None,
        name: Callable[[Instrument], str] = lambda instrument: instrument.venue_symbol,
    ) -> Markets:
        """Markets of the instruments; None takes whatever comes, under the venue's own name (a replay)."""
        if instruments is None:
            return OpenMarkets()
        return cls((name(instrument), Market(instrument, instrument.symbol)) for instrument in instruments)


class OpenMarkets(Markets):
    """Takes any symbol, for replaying recordings of instruments that are not in the registry."""

    def __missing__(self, venue_symbol: str) -> Market:
        if len(self) >= _OPEN_LIMIT or not _VENUE_SYMBOL.fullmatch(venue_symbol):
            raise KeyError(venue_symbol)
        market = self[venue_symbol] = Market(None, venue_symbol)
        return market
