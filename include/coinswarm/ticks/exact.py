"""Numbers of frames: exact text in, exact plain text out; nothing here is ever a float that is kept."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated

from msgspec import Meta, Raw

from coinswarm.ticks.model import Level, MalformedFrame

MAX_DIGITS = 40
_ZEROS = ("0", "-0")
_MISSING = ("", "null")

Text = Annotated[str, Meta(min_length=1, max_length=MAX_DIGITS)]
"""A number that a venue quotes."""
Name = Annotated[str, Meta(min_length=1, max_length=80)]
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]
IdOrNone = Annotated[int, Meta(ge=-1, le=2**63 - 1)]
"""-1 for none."""
Moment = Annotated[int, Meta(ge=0, lt=10**14)]
"""Milliseconds since the epoch, as a JSON number."""
ZonedTime = Annotated[datetime, Meta(tz=True)]

# Products of two numbers of `MAX_DIGITS` stay exact.
_EXACT = Context(prec=4 * MAX_DIGITS)
_BASE_QUANTUM = Decimal(1).scaleb(-12)
_JSON_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_MS = 86_400_000
_MAX_DAYS = 10**14 // _DAY_MS


def unsigned(text: str) -> str:
    """The number itself if it is plain and not negative, its plain form if it has an exponent.

    Raises:
        MalformedFrame: it is not such a number.
    """
    if text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= MAX_DIGITS:
        return text
    number = signed(text)
    if number[0] == "-":
        raise MalformedFrame(f"{text[:60]!r} is negative")
    return number


def signed(text: str) -> str:
    """As `unsigned`, for what may be negative: a rate, a delta.

    Raises:
        MalformedFrame: it is not a number.
    """
    if len(text) > MAX_DIGITS or not _JSON_NUMBER.fullmatch(text):
        raise MalformedFrame(f"{text[:60]!r} is not a number of at most {MAX_DIGITS} characters")
    if "e" not in text and "E" not in text:
        return text
    # A hostile exponent would become a text of as many digits.
    number = Decimal(text)
    if number and abs(number.adjusted()) > MAX_DIGITS:
        raise MalformedFrame(f"{text[:60]!r} is out of all proportion")
    return f"{number:f}" if number else "0"


def positive(text: str) -> str:
    """As `unsigned`, but a price or an executed size: zero is refused.

    Raises:
        MalformedFrame: it is not such a number.
    """
    # One expression: this is asked twice for every trade. A point sorts before the digits, as `.00` begins.
    if (
        text.isascii()
        and text.replace(".", "", 1).isdigit()
        and len(text) <= MAX_DIGITS
        and (text[0] > "0" or text.strip("0."))
    ):
        return text
    number = unsigned(text)
    if not number.strip("0."):
        raise MalformedFrame(f"{text[:60]!r} is not positive")
    return number


def raw_unsigned(raw: Raw) -> str:
    """A JSON number, as it is written in the frame.

    Raises:
        MalformedFrame: it is something else, or negative.
    """
    return unsigned(_text(raw))


def raw_positive(raw: Raw) -> str:
    """As `raw_unsigned`, zero is refused.

    Raises:
        MalformedFrame: it is something else.
    """
    try:
        text = str(raw, "ascii")
    except UnicodeDecodeError:
        text = ""
    if text.replace(".", "", 1).isdigit() and len(text) <= MAX_DIGITS and (text[0] > "0" or text.strip("0.")):
        return text
    return positive(text)


def raw_optional(raw: Raw) -> str:
    """As `raw_unsigned`; empty if the field is missing or null.

    Raises:
        MalformedFrame: it is something else.
    """
    text = _text(raw)
    return "" if text in _MISSING else unsigned(text)


def raw_optional_signed(raw: Raw) -> str:
    """As `raw_optional`, for what may be negative.

    Raises:
        MalformedFrame: it is something else.
    """
    text = _text(raw)
    return "" if text in _MISSING else signed(text)


def check_levels(levels: Sequence[Level]) -> None:
    """Refuse levels that are not a positive price and a size each, both plain numbers.

    Raises:
        MalformedFrame: one is not.
    """
    if not levels:
        return
    prices = [price for price, _ in levels]
    sizes = [size for _, size in levels]
    together = "".join(prices) + "".join(sizes)
    # Of digits and points only: then whatever `float` takes is a plain number.
    if together.isascii() and together.replace(".", "").isdigit():
        try:
            positive_prices = all(map(float, prices))
            deque(map(float, sizes), maxlen=0)
        except ValueError:
            pass
        else:
            if positive_prices and max(map(len, prices)) <= MAX_DIGITS >= max(map(len, sizes)):
                return
    # Slowly, to say which one it is.
    for price, size in levels:
        for text, good in ((price, price.strip("0.")), (size, True)):
            if not (good and text.isascii() and text.replace(".", "", 1).isdigit() and len(text) <= MAX_DIGITS):
                raise MalformedFrame(f"level with {text[:60]!r} is not a price and a size")


def epoch_ms(moment: datetime) -> int:
    """Milliseconds since the epoch, rounded down.

    Raises:
        MalformedFrame: it is before the epoch, or thousands of years after it.
    """
    since = moment - _EPOCH
    if not 0 <= since.days < _MAX_DAYS:
        raise MalformedFrame(f"{moment.isoformat()} is not of our time")
    return since.days * _DAY_MS + since.seconds * 1000 + since.microseconds // 1000


def text_ms(text: str) -> int:
    """Milliseconds that a venue sends as text.

    Raises:
        MalformedFrame: it is not a time.
    """
    if text.isascii() and text.isdigit() and len(text) <= 14:
        return int(text)
    raise MalformedFrame(f"{text[:60]!r} is not a time in milliseconds")


def text_id(text: str) -> int:
    """A whole number that a venue sends as text.

    Raises:
        MalformedFrame: it is not, or has more than 18 digits.
    """
    if text.isascii() and text.isdigit() and len(text) <= 18:
        return int(text)
    raise MalformedFrame(f"{text[:60]!r} is not an id")


def product(native: str, contract_size: Decimal) -> str:
    """Contracts times their size, exact."""
    return plain(_EXACT.multiply(Decimal(native), contract_size))


def quotient(native: str, contract_size: Decimal, price: str) -> str:
    """Contracts times their size in quote units over the price: base units, to 12 decimals, half-even.

    Raises:
        MalformedFrame: the price is zero.
    """
    over = Decimal(price)
    if not over:
        raise MalformedFrame("a contract cannot be sized by a price of zero")
    amount = Decimal(native)
    exact = _EXACT.divide(amount if contract_size == 1 else _EXACT.multiply(amount, contract_size), over)
    return plain(exact.quantize(_BASE_QUANTUM, rounding=ROUND_HALF_EVEN, context=_EXACT))


def plain(number: Decimal) -> str:
    """Text without exponent and without zeros at the end."""
    text = str(number)
    if "E" in text:
        text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in _ZEROS else text


def _text(raw: Raw) -> str:
    try:
        return str(raw, "ascii")
    except UnicodeDecodeError:
        raise MalformedFrame("a number has characters that are not ASCII") from None
