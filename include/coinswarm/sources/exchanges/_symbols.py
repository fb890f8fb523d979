"""Which instrument a row or a request is about: by the registry, never by guessing."""

from __future__ import annotations

from datetime import datetime

from coinswarm.datasets.records import FieldError
from coinswarm.errors import UserError
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sources.spec import Request

GLOBAL = "global"


def asked_symbol(request: Request) -> str:
    """Canonical symbol of a request whose rows carry no name.

    Raises:
        UserError: it names none.
    """
    if request.symbol in ("", GLOBAL):
        raise UserError(f"{request.source}/{request.dataset}: the rows carry no name, say the symbol (--symbol)")
    return request.symbol


def asked_market(request: Request) -> str:
    """API section of a request, by itself or by the registry.

    Raises:
        UserError: neither tells.
    """
    return request.market or INSTRUMENTS.get(request.source, asked_symbol(request)).market


def symbol_of_row(request: Request, name: str, markets: tuple[str, ...]) -> str:
    """Canonical symbol of a row that carries the venue's `name`.

    A request for one instrument accepts only its name; for a market-wide one the registry decides, by the request's
    market or the first of `markets` that lists it.

    Raises:
        FieldError: it is another instrument than asked, or unknown.
    """
    if request.venue_symbol:
        if name != request.venue_symbol:
            raise FieldError("symbol", f"row is about {name[:40]!r}, asked was {request.venue_symbol[:40]!r}")
        if request.symbol not in ("", GLOBAL):
            return request.symbol
    instrument = known(request, name, markets)
    if instrument is None:
        raise FieldError("symbol", f"{name[:40]!r} is not in the registry of {request.source}")
    if request.symbol not in ("", GLOBAL, instrument.symbol):
        raise FieldError("symbol", f"row is about {instrument.symbol}, asked was {request.symbol[:40]!r}")
    return instrument.symbol


def listed_symbol(request: Request, name: str, markets: tuple[str, ...]) -> str:
    """As `symbol_of_row` for datasets that list all of a venue: an unknown instrument keeps the venue's own name."""
    if request.venue_symbol or known(request, name, markets) is not None:
        return symbol_of_row(request, name, markets)
    return name


def known(request: Request, name: str, markets: tuple[str, ...]) -> Instrument | None:
    """The registry's instrument behind a venue's name, None if it has none."""
    for market in (request.market,) if request.market else markets:
        try:
            return INSTRUMENTS.from_venue(request.source, market, name)
        except UserError:
            continue
    return None


def in_window(request: Request, moment: datetime) -> bool:
    """True if the request's window holds the moment, or if it has none; pages may reach beyond what was asked."""
    return (request.start is None or request.start <= moment) and (request.end is None or moment < request.end)
