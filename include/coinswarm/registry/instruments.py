"""Which canonical instrument a venue's symbol means. What is not listed is refused, never guessed."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from importlib.resources import files

from coinswarm.errors import UserError


class InstrumentKind(StrEnum):
    """What is traded."""

    SPOT = "spot"
    PERPETUAL = "perpetual"
    FUTURE = "future"
    OPTION = "option"


@dataclass(frozen=True, slots=True)
class Instrument:
    """One market of one venue.

    `market` is the venue's API section (`spot`, `usdm`, `coinm`, `linear` …). `contract_size` is in `contract_unit`,
    the asset in which one contract is measured; 1 base unit for spot. Valid in `[valid_from, valid_to)`.
    """

    source: str
    venue_symbol: str
    symbol: str
    market: str
    kind: InstrumentKind
    base: str
    quote: str
    settle: str
    contract_size: Decimal
    contract_unit: str
    tick_size: Decimal
    valid_from: date
    valid_to: date | None = None

    @property
    def inverse(self) -> bool:
        """True if it is settled in its own base asset."""
        return self.kind is not InstrumentKind.SPOT and self.settle == self.base


def canonical_symbol(
    base: str,
    quote: str,
    kind: InstrumentKind,
    *,
    expires_at: datetime | None = None,
    strike: Decimal | None = None,
    option_type: str | None = None,
) -> str:
    """The project's name of an instrument: `BTC-USD`, `BTC-USDT-PERP`, `BTC-27MAR26`, `BTC-27MAR26-100000-C`.

    Raises:
        UserError: a future or option lacks its expiry, strike or type.
    """
    if kind is InstrumentKind.SPOT:
        return f"{base}-{quote}"
    if kind is InstrumentKind.PERPETUAL:
        return f"{base}-{quote}-PERP"
    if expires_at is None:
        raise UserError(f"a {kind} on {base} needs its expiry")
    expiry = expires_at.astimezone(UTC).strftime("%d%b%y").upper().lstrip("0")
    if kind is InstrumentKind.FUTURE:
        return f"{base}-{quote}-{expiry}" if quote != "USD" else f"{base}-{expiry}"
    if strike is None or option_type not in ("call", "put"):
        raise UserError(f"an option on {base} needs strike and type")
    return f"{base}-{expiry}-{strike.normalize():f}-{'C' if option_type == 'call' else 'P'}"


class InstrumentRegistry:
    """Both directions of the mapping, for one moment in time per question."""

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._all = tuple(instruments)
        self._by_symbol = {(i.source, i.symbol): i for i in self._all}
        self._by_venue = {(i.source, i.market, i.venue_symbol): i for i in self._all}
        if len(self._by_symbol) != len(self._all) or len(self._by_venue) != len(self._all):
            raise ValueError("two instruments of one venue share a name")

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._all)

    def of(self, source: str, *, kinds: Iterable[InstrumentKind] = tuple(InstrumentKind)) -> tuple[Instrument, ...]:
        """Instruments of a source, in listing order."""
        wanted = set(kinds)
        return tuple(i for i in self._all if i.source == source and i.kind in wanted)

    def get(self, source: str, symbol: str) -> Instrument:
        """The instrument of a source by canonical symbol.

        Raises:
            UserError: the source does not list it; the message names what it lists.
        """
        try:
            return self._by_symbol[source, symbol]
        except KeyError:
            known = ", ".join(i.symbol for i in self.of(source)) or "nothing"
            raise UserError(f"{source} has no instrument {symbol[:40]!r}; it lists {known}") from None

    def from_venue(self, source: str, market: str, venue_symbol: str) -> Instrument:
        """The instrument behind a venue's own name.

        Raises:
            UserError: unknown; it is rejected, not substituted.
        """
        try:
            return self._by_venue[source, market, venue_symbol]
        except KeyError:
            raise UserError(f"{source} {market}: unknown instrument {venue_symbol[:40]!r}") from None


def _load() -> InstrumentRegistry:
    lines = files("coinswarm.registry").joinpath("instruments.csv").read_text("utf-8").splitlines()
    return InstrumentRegistry(
        Instrument(
            source=row["source"],
            venue_symbol=row["venue_symbol"],
            symbol=row["symbol"],
            market=row["market"],
            kind=InstrumentKind(row["kind"]),
            base=row["base"],
            quote=row["quote"],
            settle=row["settle"],
            contract_size=Decimal(row["contract_size"]),
            contract_unit=row["contract_unit"],
            tick_size=Decimal(row["tick_size"]),
            valid_from=date.fromisoformat(row["valid_from"]),
            valid_to=date.fromisoformat(row["valid_to"]) if row["valid_to"] else None,
        )
        for row in csv.DictReader(lines)
    )


INSTRUMENTS = _load()
