"""Which instruments feed a planner symbol: the one table, so that nobody hides such a choice in SQL.

`planner_symbols.csv` is also loaded into the store (`ops.planner_symbols`), where the marts join it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib.resources import files

from coinswarm.errors import UserError


@dataclass(frozen=True, slots=True)
class Feeder:
    """An instrument of a source that feeds a planner symbol in a role (`price`, `positioning`, `options`)."""

    planner_symbol: str
    role: str
    source: str
    instrument: str
    rank: int
    reason: str


def _load() -> tuple[Feeder, ...]:
    lines = files("coinswarm.registry").joinpath("planner_symbols.csv").read_text("utf-8").splitlines()
    return tuple(
        Feeder(r["planner_symbol"], r["role"], r["source"], r["instrument"], int(r["rank"]), r["reason"])
        for r in csv.DictReader(lines)
    )


_FEEDERS = _load()
PLANNER_SYMBOLS: tuple[str, ...] = tuple(dict.fromkeys(f.planner_symbol for f in _FEEDERS))


def feeders(planner_symbol: str | None = None, role: str | None = None) -> tuple[Feeder, ...]:
    """Rows of the table, optionally of one planner symbol and role.

    Raises:
        UserError: unknown planner symbol; the message lists the known ones.
    """
    if planner_symbol is not None and planner_symbol not in PLANNER_SYMBOLS:
        raise UserError(f"unknown planner symbol {planner_symbol[:40]!r}; known: {', '.join(PLANNER_SYMBOLS)}")
    return tuple(
        f
        for f in _FEEDERS
        if (planner_symbol is None or f.planner_symbol == planner_symbol) and (role is None or f.role == role)
    )
