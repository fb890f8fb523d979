"""Records on their way from a parser to the store, and the checks every one of them passes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as declared
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from coinswarm.datasets._model import Column, Dataset, Kind
from coinswarm.errors import UserError
from coinswarm.names import safe_name

EARLIEST = datetime(1900, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(minutes=5)
MAX_EXPONENT = 30
MAX_DIGITS = 60
MAX_TEXT = 4_000
MAX_JSON = 100_000


@dataclass(frozen=True, slots=True)
class Record:
    """One parsed observation. `values` holds the dataset's own columns; a missing one is null.

    `final` is false while the provider may still change it by design (an open bar): it is shown, never staged.
    """

    symbol: str
    event_at: datetime
    values: Mapping[str, Any]
    published_at: datetime | None = None
    available_at: datetime | None = None
    available_basis: str = "observed"
    is_tombstone: bool = False
    final: bool = True


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that cannot become a record: kept in quarantine with its reason."""

    row: int
    field: str
    reason: str
    payload: Any = declared(repr=False, default=None)


class FieldError(ValueError):
    """One field of one row is not what the dataset promises."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.field = name
        self.reason = reason


def check(dataset: Dataset, record: Record, now: datetime | None) -> None:
    """Check names, clocks, types and declared limits of one record; business rules are the quality gate's.

    Args:
        dataset: the declaration that the record must fit.
        record: the parsed record.
        now: when the payload was received; None if unknown, then nothing counts as future-dated.

    Raises:
        FieldError: naming the first field that does not fit.
    """
    try:
        safe_name(record.symbol, what="symbol")
    except UserError as error:
        raise FieldError("symbol", str(error)) from None
    _check_moment("event_at", record.event_at, None if _may_be_future(dataset, record) else now)
    _check_moment("published_at", record.published_at, None)
    _check_moment("available_at", record.available_at, None)
    unknown = record.values.keys() - set(dataset.column_names)
    if unknown:
        raise FieldError(sorted(unknown)[0], "not a column of the dataset")
    for column in dataset.columns:
        value = record.values.get(column.name)
        if value is None:
            if not column.nullable and not record.is_tombstone:
                raise FieldError(column.name, "missing")
            continue
        _check_value(column, value)


def _may_be_future(dataset: Dataset, record: Record) -> bool:
    # A predicted funding rate is about the next settlement.
    return dataset.name == "funding_rates" and record.values.get("kind") == "predicted"


def _check_moment(name: str, value: datetime | None, now: datetime | None) -> None:
    if value is None:
        return
    if value.utcoffset() != timedelta(0):
        raise FieldError(name, "not in UTC")
    if value < EARLIEST:
        raise FieldError(name, f"{value.isoformat()} is before {EARLIEST.year}")
    if now is not None and value > now + CLOCK_SKEW:
        raise FieldError(name, f"{value.isoformat()} is in the future")


def _check_value(column: Column, value: Any) -> None:
    kind = column.kind
    if kind is Kind.NUMERIC:
        if not isinstance(value, Decimal):
            raise FieldError(column.name, f"{type(value).__name__} instead of an exact decimal")
        if not value.is_finite():
            raise FieldError(column.name, "not a finite number")
        if value and (abs(value.adjusted()) > MAX_EXPONENT or len(value.as_tuple().digits) > MAX_DIGITS):
            raise FieldError(column.name, "magnitude or precision out of range")
        _check_limits(column, value)
    elif kind is Kind.INTEGER:
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) >= 2**63:
            raise FieldError(column.name, "not a 64-bit whole number")
        _check_limits(column, value)
    elif kind is Kind.TEXT:
        if not isinstance(value, str) or len(value) > MAX_TEXT or "\x00" in value:
            raise FieldError(column.name, f"not a text of at most {MAX_TEXT} characters without NUL")
        if not _storable(value):
            raise FieldError(column.name, "not text: half of a surrogate pair")
        if column.allowed and value not in column.allowed:
            raise FieldError(column.name, f"{value[:40]!r} is not one of {', '.join(column.allowed)}")
    elif kind is Kind.TIMESTAMP:
        if not isinstance(value, datetime):
            raise FieldError(column.name, "not a point in time")
        _check_moment(column.name, value, None)
    elif kind is Kind.BOOLEAN:
        if not isinstance(value, bool):
            raise FieldError(column.name, "not true or false")
    elif not isinstance(value, list | dict):
        raise FieldError(column.name, "not a JSON array or object")
    else:
        _check_json(column.name, value)


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


def _check_json(name: str, value: Any) -> None:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise FieldError(name, f"not JSON: {str(error)[:200]}") from None
    if len(text) > MAX_JSON or "\\u0000" in text or not _storable(text):
        raise FieldError(name, f"not JSON of at most {MAX_JSON} characters without NUL and broken surrogates")


def _check_limits(column: Column, value: Decimal | int) -> None:
    if column.above is not None and value <= column.above:
        raise FieldError(column.name, f"{value} is not above {column.above}")
    if column.minimum is not None and value < column.minimum:
        raise FieldError(column.name, f"{value} is below {column.minimum}")
    if column.maximum is not None and value > column.maximum:
        raise FieldError(column.name, f"{value} is above {column.maximum}")
