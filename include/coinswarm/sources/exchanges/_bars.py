"""Pages of bars and of other regular rows: the windows to ask for, oldest first."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from coinswarm.datasets.records import FieldError
from coinswarm.errors import UserError
from coinswarm.sources.spec import Request
from coinswarm.timeframes import EPOCH, Window, duration, floor


def pages(window: Window, step: timedelta, limit: int) -> Iterator[Window]:
    """Windows of at most `limit` slots that together hold every slot start in `window`, once.

    A page starts on a slot and ends on one (aligned to the epoch, `step` long). No slot inside: no page.
    """
    start = floor(window.start, step)
    if start < window.start:
        start += step
    last = floor(window.end - timedelta(microseconds=1), step)
    if start <= last:
        yield from Window(start, last + step).slices(step * limit)


def bar_pages(window: Window, timeframe: str, limit: int) -> Iterator[Window]:
    """`pages` of bars that open in `window`."""
    return pages(window, duration(timeframe), limit)


def bar_length(request: Request) -> timedelta:
    """Length of the bars that the request is about.

    Raises:
        UserError: it names no timeframe; a body of bars alone does not tell it.
    """
    if not request.timeframe:
        raise UserError(f"{request.source}/{request.dataset}: say which timeframe the bars are (--timeframe)")
    return duration(request.timeframe)


def is_closed(opened: datetime, length: timedelta, request: Request) -> bool:
    """True if the bar was over when the answer was read, or if nobody knows when that was."""
    return request.received_at is None or opened + length <= request.received_at


def check_grid(opened: datetime, length: timedelta, name: str) -> datetime:
    """`opened` if a bar of that length can open there, by UTC.

    Raises:
        FieldError: it cannot: the bar is of another timeframe, or the time is in another unit.
    """
    if (opened - EPOCH) % length:
        raise FieldError(name, f"{opened.isoformat()} is not a multiple of {length}")
    return opened
