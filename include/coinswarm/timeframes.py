"""Bar lengths and half-open UTC windows: the only place that knows how long `4h` is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from coinswarm.errors import UserError

TIMEFRAMES: dict[str, timedelta] = {
    "1m": timedelta(minutes=1),
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "8h": timedelta(hours=8),
    "1d": timedelta(days=1),
}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def duration(timeframe: str) -> timedelta:
    """Length of a timeframe.

    Raises:
        UserError: unknown timeframe; the message lists the known ones.
    """
    try:
        return TIMEFRAMES[timeframe]
    except KeyError:
        raise UserError(f"unknown timeframe {timeframe!r}; known: {', '.join(TIMEFRAMES)}") from None


def floor(moment: datetime, step: timedelta) -> datetime:
    """Start of the `step`-long slot (aligned to the epoch, UTC) that contains `moment`."""
    return EPOCH + (moment - EPOCH) // step * step


def milliseconds(moment: datetime) -> int:
    """Milliseconds since the epoch."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def from_milliseconds(value: int) -> datetime:
    """UTC moment of a millisecond epoch."""
    return EPOCH + timedelta(milliseconds=value)


def parse_moment(text: str) -> datetime:
    """UTC time from a date or ISO time; without a zone it is UTC.

    Raises:
        UserError: it is neither.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise UserError(f"{text[:40]!r} is not a date or time; write 2026-11-23 or 2026-11-23T12:00") from None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open UTC interval `[start, end)`."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.utcoffset() != timedelta(0) or self.end.utcoffset() != timedelta(0):
            raise UserError("a window is in UTC: both ends need the time zone")
        if self.end <= self.start:
            raise UserError(f"a window ends after it starts, not {self.start.isoformat()} .. {self.end.isoformat()}")

    def slices(self, step: timedelta) -> Iterator[Window]:
        """Consecutive sub-windows of at most `step`, oldest first."""
        start = self.start
        while start < self.end:
            end = min(start + step, self.end)
            yield Window(start, end)
            start = end

    def grid(self, step: timedelta) -> Iterator[datetime]:
        """Slot starts (aligned to the epoch) inside the window."""
        slot = floor(self.start, step)
        if slot < self.start:
            slot += step
        while slot < self.end:
            yield slot
            slot += step
