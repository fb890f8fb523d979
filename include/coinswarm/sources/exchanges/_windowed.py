"""Bars of an answer that are part of the question: providers like to answer with more than was asked."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from coinswarm.datasets.records import Record
from coinswarm.errors import UserError
from coinswarm.registry import Instrument
from coinswarm.sources.exchanges._bars import check_grid, is_closed
from coinswarm.sources.exchanges._symbols import asked_symbol, in_window
from coinswarm.sources.reading import decimal
from coinswarm.sources.spec import Request
from coinswarm.timeframes import EPOCH


def seconds(moment: datetime) -> int:
    """Whole seconds since the epoch."""
    return (moment - EPOCH) // timedelta(seconds=1)


def given(source: str, instrument: Instrument | None) -> Instrument:
    """The instrument of a feed that is asked per instrument.

    Raises:
        UserError: there is none.
    """
    if instrument is None:
        raise UserError(f"{source}: this feed is asked per instrument")
    return instrument


def prices(row: Any) -> dict[str, Decimal]:
    """Prices and base volume of a row that calls them `open`, `high`, `low`, `close` and `volume`.

    Raises:
        FieldError: one is missing or no number.
    """
    named = {name: decimal(row, name) for name in ("open", "high", "low", "close")}
    return {**named, "volume_base": decimal(row, "volume")}


def bar(
    request: Request,
    opened: datetime,
    length: timedelta,
    values: Mapping[str, Any],
    *,
    time_field: str,
    closed: bool = True,
) -> Record | None:
    """A bar record, or None outside of the window; final once both the venue and the clock say that it closed.

    Raises:
        FieldError: no bar of that length opens there; it names `time_field`.
        UserError: the request names no symbol.
    """
    check_grid(opened, length, time_field)
    if not in_window(request, opened):
        return None
    final = closed and is_closed(opened, length, request)
    return Record(asked_symbol(request), opened, {"timeframe": request.timeframe, **values}, final=final)
