"""Order book sides as every venue's REST body gives them: price and size, with or without further fields."""

from __future__ import annotations

from typing import Any

from coinswarm.datasets.records import FieldError
from coinswarm.sources.reading import decimal

MAX_LEVELS = 50_000


def levels(value: Any, name: str, *, best_is_highest: bool) -> list[list[str]]:
    """One side, best first, as `[[price, size], …]` with the venue's own digits.

    Raises:
        FieldError: not a list of levels, a price or size that is no number or not positive, or a price given twice.
    """
    if not isinstance(value, list) or len(value) > MAX_LEVELS:
        raise FieldError(name, f"not a list of at most {MAX_LEVELS} levels")
    seen = {}
    for level in value:
        price, size = decimal(level, 0), decimal(level, 1)
        if price <= 0 or size < 0:
            raise FieldError(name, f"level {str(level)[:60]} is not a price and a size")
        if price in seen:
            raise FieldError(name, f"price {price} twice")
        seen[price] = [str(level[0]), str(level[1])]
    return [seen[price] for price in sorted(seen, reverse=best_is_highest)]
