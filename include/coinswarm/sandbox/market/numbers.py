"""Decimal text from scaled integers, and back: no price passes through a float on its way out."""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache


@lru_cache(maxsize=256)
def split(step: str) -> tuple[int, int]:
    """`"0.05"` is 5 units of 10**-2: (5, 2)."""
    digits = len(step.partition(".")[2])
    return int(Decimal(step).scaleb(digits)), digits


def text(units: int, digits: int) -> str:
    """`units` x 10**-digits as plain decimal text without trailing zeros."""
    if digits <= 0:
        return str(units * 10**-digits)
    sign = "-" if units < 0 else ""
    whole, part = divmod(abs(units), 10**digits)
    fraction = f"{part:0{digits}d}".rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"


def padded(number: str, digits: int) -> str:
    """The same number with at least `digits` decimals: `padded("69100", 2)` is `69100.00`."""
    whole, _, fraction = number.partition(".")
    return f"{whole}.{fraction:0<{digits}}" if digits else number


def to_step(value: float, step: str) -> str:
    """A float rounded to the grid of `step`."""
    mantissa, digits = split(step)
    return text(round(value * 10**digits / mantissa) * mantissa, digits)


def rate(value: float, digits: int = 8) -> str:
    """A rate with a fixed number of decimals."""
    rounded = f"{value:.{digits}f}"
    return rounded[1:] if rounded.startswith("-") and not float(rounded) else rounded
