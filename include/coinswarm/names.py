"""The one validator for text that becomes a path, a key or an identifier."""

from __future__ import annotations

import re

from coinswarm.errors import UserError

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+@-]*", re.ASCII)
_SLUG = re.compile(r"[a-z][a-z0-9_]{0,39}", re.ASCII)


def safe_name(text: str, *, what: str = "name", limit: int = 80) -> str:
    """Return `text` unchanged if it may stand in a path, key or label; at most `limit` ASCII characters.

    Raises:
        UserError: it has other characters, `..`, or is too long. The message shows at most 40 characters of it.
    """
    if len(text) <= limit and _SAFE.fullmatch(text) and ".." not in text:
        return text
    raise UserError(f"{what} {text[:40]!r} is not allowed: letters, digits and . _ : + @ - only, at most {limit}")


def slug(text: str, *, what: str = "slug") -> str:
    """Return `text` unchanged if it is a lower-case identifier (source, dataset, table)."""
    if _SLUG.fullmatch(text):
        return text
    raise UserError(f"{what} {text[:40]!r} is not allowed: lower-case letters, digits and _ only, at most 40")
