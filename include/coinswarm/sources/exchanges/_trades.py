"""Past trades, asked again to close a hole: what is wanted, how a venue pages through it, and sizes in base units."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

from coinswarm.datasets.records import Record
from coinswarm.errors import UserError
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sources.spec import Parser, Request
from coinswarm.timeframes import EPOCH

MILLISECOND = timedelta(milliseconds=1)
_EXACT = Context(prec=160)
_BASE_QUANTUM = Decimal(1).scaleb(-12)


@dataclass(frozen=True, slots=True)
class Span:
    """Trades that are wanted: by their numbers, both ends included, and in any case by time, half-open."""

    start: datetime
    end: datetime
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """An answered request with what was in its answer, in the order of the body."""

    request: Request
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class TradeHistory:
    """How a venue gives past trades of one market.

    `following(instrument, span, page)` is the request after `page`, the first one if that is None, and None once the
    span is covered. `number(record)` is the trade's place in the venue's consecutive numbers, None where it has none:
    then a hole can be closed by time only. A page costs `seconds` of the venue's rate budget. `reach` is how far back
    it goes, None for all of history. Where answers go back `from_start` of the span on, they leave out nothing at its
    beginning; of others, and without numbers, whether they reached far enough is seen by their oldest trade.
    """

    following: Callable[[Instrument, Span, Page | None], Request | None]
    parse: Parser
    seconds: float
    number: Callable[[Record], int | None] = lambda record: None
    reach: timedelta | None = None
    from_start: bool = False


def by_trade_id(record: Record) -> int | None:
    """The number of a trade whose id is its number."""
    text = str(record.values["trade_id"])
    return int(text) if text.isdecimal() else None


def by_sequence(record: Record) -> int | None:
    """The number of a trade that has one beside its id."""
    number = record.values.get("sequence")
    return None if number is None else int(number)


def sizes(
    source: str, symbol: str, native: Decimal, price: Decimal, *, contract_size: Decimal | None = None
) -> dict[str, Any]:
    """`size_base` and `size_native` of a trade, as the live feed gives them.

    What is counted in quote units is divided by the price and rounded half-even to 12 decimals. An instrument that is
    not listed keeps the venue's own count. `contract_size` is for a venue that counts in another unit than contracts.
    """
    try:
        instrument = INSTRUMENTS.get(source, symbol)
    except UserError:
        return {"size_base": native}
    contract = instrument.contract_size if contract_size is None else contract_size
    if instrument.contract_unit != instrument.base:
        exact = _EXACT.divide(_EXACT.multiply(native, contract), price)
        base = exact.quantize(_BASE_QUANTUM, rounding=ROUND_HALF_EVEN, context=_EXACT)
    elif contract != 1:
        base = _EXACT.multiply(native, contract)
    else:
        return {"size_base": native}
    return {"size_base": base, "size_native": native}


def to_millisecond(moment: datetime) -> datetime:
    """The live feed's times are of milliseconds; a body's may be finer."""
    return EPOCH + (moment - EPOCH) // MILLISECOND * MILLISECOND


def highest(page: Page, number: Callable[[Record], int | None]) -> int | None:
    """The highest number of a page."""
    return max(_numbers(page.records, number), default=None)


def lowest(page: Page, number: Callable[[Record], int | None]) -> int | None:
    """The lowest number of a page."""
    return min(_numbers(page.records, number), default=None)


def _numbers(records: Iterable[Record], number: Callable[[Record], int | None]) -> list[int]:
    return [found for record in records if (found := number(record)) is not None]
