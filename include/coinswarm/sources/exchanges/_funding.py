"""Funding times and intervals, where the venue does not state them (decision 0002)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from coinswarm.datasets.records import FieldError
from coinswarm.sources.reading import epoch_ms
from coinswarm.timeframes import EPOCH, floor

HOUR = timedelta(hours=1)
DEFAULT_HOURS = Decimal(8)
# Longest first: a time on the grid of 8 h is on those of 4, 2 and 1 h as well.
KNOWN_HOURS = (8, 4, 2, 1)
# A page starts so much earlier than its window, so that the settlement before the first one tells its interval.
LEAD_IN = timedelta(hours=8, minutes=1)
LEAD_IN_ROWS = 9
_TOLERANCE = timedelta(minutes=1)


def settlement_hour(exact: datetime, name: str) -> datetime:
    """The full hour that a settlement belongs to; venues stamp it some milliseconds off.

    Raises:
        FieldError: it is more than a minute away from any full hour.
    """
    hour = floor(exact + HOUR / 2, HOUR)
    if abs(exact - hour) > _TOLERANCE:
        raise FieldError(name, f"{exact.isoformat()} is not a settlement time: more than a minute off the hour")
    return hour


def settlements(rows: Iterable[Any], key: str) -> list[datetime | None]:
    """Settlement hours of a page in body order, None where a row does not tell (it is rejected when it is built)."""
    found: list[datetime | None] = []
    for row in rows:
        try:
            found.append(settlement_hour(epoch_ms(row, key), key))
        except FieldError:
            found.append(None)
    return found


def intervals(page: Sequence[datetime | None]) -> dict[datetime, Decimal]:
    """Interval in hours that each settlement of a page closed: the time since the one before it.

    The first one takes the time to the next. A distance that no venue uses (a missing row) counts as unknown, and an
    unknown interval is 8 h, or less where the time is not on the 8 h grid. Beside an unreadable row nothing is assumed:
    a settlement whose other neighbour does not tell either is left out.
    """
    complete = None not in page
    ordered = sorted({moment for moment in page if moment}) if complete else _oldest_first(page)
    result: dict[datetime, Decimal] = {}
    for before, moment in pairwise(ordered):
        if before is None or moment is None:
            continue
        hours = (moment - before) / HOUR
        if hours in KNOWN_HOURS:
            result[moment] = Decimal(int(hours))
            result.setdefault(before, result[moment])
    if complete:
        for alone in ordered:
            if alone is not None:
                result.setdefault(alone, interval_by_grid(alone))
    return result


def interval_of(settlement: datetime, known: dict[datetime, Decimal]) -> Decimal:
    """Interval of a settlement among those of its page.

    Raises:
        FieldError: the page does not tell it.
    """
    try:
        return known[settlement]
    except KeyError:
        raise FieldError("interval_hours", "unknown, because the row beside is unreadable") from None


def _oldest_first(page: Sequence[datetime | None]) -> Sequence[datetime | None]:
    readable = [moment for moment in page if moment is not None]
    return page if readable == sorted(readable) else tuple(reversed(page))


def interval_by_grid(settlement: datetime) -> Decimal:
    """The longest interval (8, 4, 2 or 1 h) that has a settlement at this full hour of the UTC day."""
    hours = (settlement - EPOCH) // HOUR
    return next((Decimal(known) for known in KNOWN_HOURS if hours % known == 0), DEFAULT_HOURS)
