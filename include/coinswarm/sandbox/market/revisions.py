"""Corrections laid over a market after the fact, as venues restate bars: by control request, from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from threading import Lock
from typing import Any, TypeVar

from coinswarm.sandbox.market.model import MINUTE, Bar, Funding, Listing

_BAR_FIELDS = ("open", "high", "low", "close", "base", "quote", "contracts", "taker_base", "taker_quote")
_FUNDING_FIELDS = ("rate", "mark")

Row = TypeVar("Row", Bar, Funding)


@dataclass(frozen=True, slots=True)
class Revision:
    """One changed field of a bar (`step` > 0) or funding event (`step` 0). Without `value` it grows by one percent."""

    venue: str
    market: str
    symbol: str
    step: int
    at_ms: int
    field: str
    value: str | None = None

    def __post_init__(self) -> None:
        known = _BAR_FIELDS if self.step else _FUNDING_FIELDS
        if self.field not in known:
            raise ValueError(f"field {self.field!r} cannot be revised; known: {', '.join(known)}")
        try:
            if self.value is not None and not Decimal(self.value).is_finite():
                raise InvalidOperation
        except InvalidOperation:
            raise ValueError(f"value {self.value!r} is not a decimal number") from None

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Revision:
        """A correction from its JSON form: `minutes` is the bar's length (0: funding), `at` milliseconds or ISO 8601.

        Raises:
            ValueError: a field is missing, unknown or not of its type.
        """
        unknown = set(fields) - {"venue", "market", "symbol", "minutes", "at", "field", "value"}
        if unknown:
            raise ValueError(f"unknown revision field {min(unknown)!r}")
        try:
            minutes = int(fields.get("minutes", 0))
            value = fields.get("value")
            return cls(
                venue=fields["venue"],
                market=fields["market"],
                symbol=fields["symbol"],
                step=minutes * MINUTE,
                at_ms=milliseconds_of(fields["at"]),
                field=fields.get("field", "close" if minutes else "rate"),
                value=None if value is None else str(value),
            )
        except KeyError as missing:
            raise ValueError(f"a revision needs {missing}") from None
        except TypeError as error:
            raise ValueError(str(error)) from None


def milliseconds_of(value: Any) -> int:
    """Milliseconds since the epoch of a number or of an ISO 8601 text with its zone.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(value, int):
        return value
    moment = datetime.fromisoformat(value)
    if moment.tzinfo is None:
        raise ValueError(f"{value!r} needs a time zone")
    return round(moment.timestamp() * 1000)


class Revisions:
    """All corrections so far; the latest of a field stands."""

    def __init__(self) -> None:
        """Start with none."""
        self._changes: dict[tuple[str, str, str, int], dict[int, dict[str, str | None]]] = {}
        self._lock = Lock()

    def add(self, revision: Revision) -> None:
        """Apply a correction from now on."""
        where = (revision.venue, revision.market, revision.symbol, revision.step)
        with self._lock:
            changes = self._changes.setdefault(where, {}).setdefault(revision.at_ms, {})
            changes[revision.field] = revision.value

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._changes.clear()

    def __len__(self) -> int:
        with self._lock:
            return sum(len(changes) for moments in self._changes.values() for changes in moments.values())

    def bars(self, listing: Listing, step: int, bars: list[Bar]) -> list[Bar]:
        """The bars with their corrections."""
        changes = self._of(listing, step)
        if not changes:
            return bars
        return [_revised(bar, changes[bar.open_ms]) if bar.open_ms in changes else bar for bar in bars]

    def funding(self, listing: Listing, events: list[Funding]) -> list[Funding]:
        """The events with their corrections."""
        changes = self._of(listing, 0)
        if not changes:
            return events
        return [_revised(e, changes[e.at_ms]) if e.at_ms in changes else e for e in events]

    def _of(self, listing: Listing, step: int) -> dict[int, dict[str, str | None]]:
        with self._lock:
            found = self._changes.get((listing.venue, listing.market, listing.symbol, step), {})
            return {at: dict(fields) for at, fields in found.items()}


def _revised(row: Row, changes: dict[str, str | None]) -> Row:
    values: dict[str, Any] = {
        field: format(Decimal(getattr(row, field)) * Decimal("1.01"), "f") if value is None else value
        for field, value in changes.items()
    }
    return row._replace(**values)
