"""Reading the rules by which something goes wrong on purpose."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, TypeVar

Rule = TypeVar("Rule")


def rule_from_json(kind: type[Rule], fields: Mapping[str, Any]) -> Rule:
    """A rule of that kind from its JSON form: the names that its constructor takes.

    Raises:
        ValueError: an unknown field, or a value that the rule does not take.
    """
    known = list(signature(kind).parameters)
    unknown = set(fields) - set(known)
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r} of a {kind.__name__}; known: {', '.join(known)}")
    try:
        return kind(**fields)
    except TypeError as error:
        raise ValueError(str(error)) from error
