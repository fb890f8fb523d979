"""Reading query values the way venues do: a wrong one becomes the venue's own error envelope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hashlib import blake2b

from coinswarm.sandbox.protocol import Refusal, Reply

Refuse = Callable[[str], Reply]
FOREVER = 1 << 52


def integer(query: Mapping[str, str], name: str, refuse: Refuse) -> int | None:
    """A whole number, None if it was not sent.

    Raises:
        Refusal: it is not a whole number; `refuse(name)` is the answer.
    """
    value = query.get(name, "")
    if not value:
        return None
    # A sane length keeps huge digits out of 64-bit arithmetic.
    if value.isascii() and value.isdigit() and len(value) <= 19 and int(value) <= FOREVER:
        return int(value)
    raise Refusal(refuse(name))


def limit_of(query: Mapping[str, str], default: int, largest: int, refuse: Refuse, name: str = "limit") -> int:
    """The page size, between 1 and `largest`; larger ones are cut as venues do.

    Raises:
        Refusal: it is zero or not a number.
    """
    value = integer(query, name, refuse)
    if value is None:
        return default
    if value < 1:
        raise Refusal(refuse(name))
    return min(value, largest)


def iso(at_ms: int) -> str:
    """`2026-01-01T00:00:00.000Z`."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03d}Z"


def iso_micro(at_us: int) -> str:
    """`2026-01-01T00:00:00.000000Z`."""
    moment = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_us % 1_000_000:06d}Z"


def uuid_of(*names: str | int) -> str:
    """An identifier that looks like a UUID and depends on the names only."""
    digits = blake2b("\x1f".join(map(str, names)).encode(), digest_size=16).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
