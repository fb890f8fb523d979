"""Exact, strict reading of provider bodies: the helpers that parsers share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from coinswarm.datasets.records import MAX_EXPONENT, FieldError, Record, Rejected
from coinswarm.errors import ContractViolation
from coinswarm.sources.spec import Request
from coinswarm.timeframes import from_milliseconds

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_ROWS = 500_000
# Decimal() itself would also take spaces, underscores, other scripts' digits and "NaN".
_PLAIN_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?", re.ASCII)
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


def read_json(body: bytes, request: Request) -> Any:
    """Decode a JSON body with exact decimals.

    Raises:
        ContractViolation: not JSON, NaN or Infinity, nested too deeply, or larger than 64 MiB.
    """
    if len(body) > MAX_BODY_BYTES:
        raise violation(request, f"body of {len(body)} bytes is larger than {MAX_BODY_BYTES}")
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError, InvalidOperation, ValueError) as error:
        raise violation(request, f"not JSON ({error}), starts with {body[:60]!r}") from None


def violation(request: Request, message: str) -> ContractViolation:
    """A ContractViolation that names source and dataset."""
    return ContractViolation(message, source=request.source, dataset=request.dataset)


def rows_of(value: Any, request: Request, where: str = "body") -> list[Any]:
    """`value` if it is a list of at most MAX_ROWS items.

    Raises:
        ContractViolation: anything else.
    """
    if not isinstance(value, list):
        raise violation(request, f"{where} is {type(value).__name__}, not a list")
    if len(value) > MAX_ROWS:
        raise violation(request, f"{where} has {len(value)} rows, more than {MAX_ROWS}")
    return value


def each(rows: Iterable[Any], build: Callable[[Any], Record | None]) -> Iterator[Record | Rejected]:
    """Build a record per row; a row that does not fit becomes a rejection, and the rest goes on.

    `build` returns None for a row that is not of this dataset, and raises FieldError for a bad one.
    """
    for number, row in enumerate(rows):
        try:
            record = build(row)
        except FieldError as error:
            yield Rejected(number, error.field, error.reason, row)
        except (KeyError, IndexError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            yield Rejected(number, "row", f"{type(error).__name__}: {str(error)[:200]}", row)
        else:
            if record is not None:
                yield record


def item(row: Any, key: str | int) -> Any:
    """Field of a JSON object or array.

    Raises:
        FieldError: the row has another shape, or lacks the field.
    """
    if isinstance(key, str) and isinstance(row, Mapping):
        if key in row:
            return row[key]
    elif isinstance(key, int) and isinstance(row, Sequence) and not isinstance(row, str | bytes):
        if -len(row) <= key < len(row):
            return row[key]
    else:
        raise FieldError(str(key), f"row is {type(row).__name__}")
    raise FieldError(str(key), "missing")


def decimal(row: Any, key: str | int) -> Decimal:
    """Exact number, given as JSON number or text.

    Raises:
        FieldError: missing, empty, not a finite number in ASCII digits, out of range, or longer than 100 characters.
    """
    value = item(row, key)
    if isinstance(value, Decimal):
        number = value
    elif isinstance(value, bool):
        raise FieldError(str(key), "true or false instead of a number")
    elif isinstance(value, int):
        number = Decimal(value)
    elif isinstance(value, str) and len(value) <= 100 and _PLAIN_NUMBER.fullmatch(value):
        try:
            number = Decimal(value)
        except InvalidOperation:
            raise FieldError(str(key), f"{value[:40]!r} is not a number") from None
    else:
        raise FieldError(str(key), f"{str(value)[:40]!r} is not a number")
    if not number.is_finite() or (number and abs(number.adjusted()) > MAX_EXPONENT):
        raise FieldError(str(key), f"{str(value)[:40]!r} is not finite, or out of range")
    return number


def optional_decimal(row: Any, key: str | int) -> Decimal | None:
    """As `decimal`, with None where the field is missing, null or empty."""
    try:
        value = item(row, key)
    except FieldError as error:
        if error.reason == "missing":
            return None
        raise
    return None if value is None or value == "" else decimal(row, key)


def whole(row: Any, key: str | int) -> int:
    """Whole number, given as JSON number or text.

    Raises:
        FieldError: not a whole number.
    """
    number = decimal(row, key)
    if number.adjusted() > 18 or number != int(number):
        raise FieldError(str(key), f"{str(number)[:40]} is not a whole number")
    return int(number)


def text(row: Any, key: str | int) -> str:
    """Text field.

    Raises:
        FieldError: missing or not text.
    """
    value = item(row, key)
    if not isinstance(value, str):
        raise FieldError(str(key), f"{type(value).__name__} instead of text")
    return value


def epoch_ms(row: Any, key: str | int) -> datetime:
    """UTC moment from milliseconds since the epoch.

    Raises:
        FieldError: not a whole number, or outside of 1970 … 2200 (so seconds or microseconds are noticed).
    """
    value = whole(row, key)
    if not 0 <= value < 7_258_118_400_000:
        raise FieldError(str(key), f"{value} is not milliseconds since 1970")
    return from_milliseconds(value)


def epoch_s(row: Any, key: str | int) -> datetime:
    """UTC moment from whole seconds since the epoch.

    Raises:
        FieldError: not a whole number, or outside of 1970 … 2200.
    """
    value = whole(row, key)
    if not 0 <= value < 7_258_118_400:
        raise FieldError(str(key), f"{value} is not seconds since 1970")
    return from_milliseconds(value * 1000)


def iso_time(row: Any, key: str | int) -> datetime:
    """UTC moment from ISO 8601 text; a date alone is midnight, a missing zone is UTC.

    Raises:
        FieldError: not ISO 8601.
    """
    value = text(row, key)
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise FieldError(str(key), f"{value[:40]!r} is not a time") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
