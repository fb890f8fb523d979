"""Which rows a batch should have: a generated calendar per dataset, and the gaps in what came.

Comparing neighbouring rows cannot see a dead tail or a late start; a calendar made from the window can.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum

from coinswarm.batches import Batch
from coinswarm.datasets import Dataset, Severity
from coinswarm.errors import UserError
from coinswarm.names import safe_name
from coinswarm.quality.checks import Check, Scope, literal
from coinswarm.registry import INSTRUMENTS
from coinswarm.timeframes import Window, duration

# Below this share of the expected slots a batch is refused. Minutes without a trade have no bar at some venues, so a
# batch of 1m bars is refused only if nothing came at all.
LEAST_SHARE = 0.5


class Coverage(StrEnum):
    """How many rows can be expected of a dataset."""

    GRID = "a bar per slot and symbol"
    PRESENCE = "at least one row per symbol"
    SETTLEMENTS = "a row per settlement, at the interval that the venue stated"
    UNKNOWN = "nobody can say how many"


COVERAGE: dict[str, Coverage] = {
    "ohlcv": Coverage.GRID,
    "volatility_indices": Coverage.GRID,
    "funding_rates": Coverage.SETTLEMENTS,
    "open_interest": Coverage.PRESENCE,
    "long_short_ratios": Coverage.PRESENCE,
    "option_quotes": Coverage.PRESENCE,
    "market_caps": Coverage.PRESENCE,
    "stablecoin_supply": Coverage.PRESENCE,
    "tvl": Coverage.PRESENCE,
    "articles": Coverage.UNKNOWN,
    "series_observations": Coverage.UNKNOWN,
    # Of live feeds `ops.stream_verdicts` says, minute by minute, whether something is missing.
    "trades": Coverage.UNKNOWN,
    "liquidations": Coverage.UNKNOWN,
    "order_books": Coverage.UNKNOWN,
    "trade_bars": Coverage.UNKNOWN,
}


class GapKind(StrEnum):
    """Where in the window slots are missing."""

    LEADING = "leading"
    MIDDLE = "middle"
    TRAILING = "trailing"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Gap:
    """Consecutive missing slots of one symbol: open time of the first and the last, and how many."""

    symbol: str
    first: datetime
    last: datetime
    slots: int
    kind: GapKind


@dataclass(frozen=True, slots=True)
class Calendar:
    """Queries over `{batch}`: `expected` yields (symbol, slot), `missing` those of them without a row.

    `step` is the distance of slots, None where slots are no grid. `verifiable` is false if nobody can say what to
    expect; both queries then yield nothing.
    """

    coverage: Coverage
    expected: str
    missing: str
    step: timedelta | None
    checks: tuple[Check, ...]

    @property
    def verifiable(self) -> bool:
        """True if completeness can be measured."""
        return self.coverage is not Coverage.UNKNOWN


def calendar_of(dataset: Dataset, batch: Batch, expected_symbols: tuple[str, ...]) -> Calendar:
    """The calendar of a batch; without expected symbols a grid is checked for the symbols that came.

    Raises:
        UserError: an expected symbol cannot be a name.
    """
    symbols = tuple(safe_name(symbol, what="symbol") for symbol in expected_symbols)
    coverage = COVERAGE.get(dataset.name, Coverage.UNKNOWN)
    if coverage is Coverage.SETTLEMENTS and batch.feed.endswith("predicted"):
        coverage = Coverage.PRESENCE
    if coverage is Coverage.GRID:
        step = duration(batch.timeframe or dataset.grid)
        match = "staged.symbol = expected.symbol and staged.event_at = expected.slot"
        return _calendar(coverage, _grid(batch, symbols, step), match, step, batch)
    if coverage is Coverage.PRESENCE and symbols:
        slot = literal(batch.window.start)
        values = ", ".join(f"({literal(symbol)}, {slot})" for symbol in symbols)
        expected = f"select symbol, slot from (values {values}) as listed (symbol, slot)"
        match = "staged.symbol = expected.symbol"
        if dataset.name == "option_quotes":  # asked by underlying, answered by option
            match = "staged.underlying = split_part(expected.symbol, '-', 1)"
        return _calendar(coverage, expected, match, None, batch)
    if coverage is Coverage.SETTLEMENTS and symbols:
        match = "staged.symbol = expected.symbol and staged.kind = 'settled' and staged.event_at = expected.slot"
        return _calendar(coverage, _settlements(batch, symbols), match, None, batch)
    return Calendar(Coverage.UNKNOWN, "", "", None, ())


def gaps(window: Window, step: timedelta, missing: Iterable[tuple[str, datetime]]) -> list[Gap]:
    """Missing slots joined to runs, by symbol and time, each marked by where in the window it lies."""
    runs: list[tuple[str, datetime, datetime]] = []
    for symbol, slot in sorted(missing):
        if runs and runs[-1][0] == symbol and runs[-1][2] + step == slot:
            runs[-1] = (symbol, runs[-1][1], slot)
        else:
            runs.append((symbol, slot, slot))
    grid = list(window.grid(step))
    return [
        Gap(symbol, first, last, (last - first) // step + 1, _kind(first, last, grid)) for symbol, first, last in runs
    ]


def _kind(first: datetime, last: datetime, grid: list[datetime]) -> GapKind:
    leads, trails = first <= grid[0], last >= grid[-1]
    if leads:
        return GapKind.ALL if trails else GapKind.LEADING
    return GapKind.TRAILING if trails else GapKind.MIDDLE


def _calendar(coverage: Coverage, expected: str, match: str, step: timedelta | None, batch: Batch) -> Calendar:
    source = f"with staged as (select * from {{batch}}), expected as ({expected})"
    absent = f"not exists (select from staged where {match})"
    complete = Check(
        "calendar.complete",
        "event_at",
        Scope.BATCH,
        Severity.WARN,
        f"Nothing is missing: {coverage.value}.",
        f"{source} select symbol, slot from expected where {absent}",
    )
    checks = [complete]
    if coverage is not Coverage.SETTLEMENTS:
        lenient = coverage is Coverage.PRESENCE or batch.timeframe == "1m"
        too_few = "absent = slots" if lenient else f"absent > slots * {1 - LEAST_SHARE}"
        checks.append(
            Check(
                "calendar.enough",
                "event_at",
                Scope.BATCH,
                Severity.BLOCK,
                "Some of the expected rows came." if lenient else f"At least {LEAST_SHARE:.0%} of the slots came.",
                f"{source} select slots, absent from (select count(*) as slots,"
                f" count(*) filter (where {absent}) as absent from expected) as counted where slots > 0 and {too_few}",
            )
        )
    return Calendar(coverage, f"{source} select symbol, slot from expected", complete.rows, step, tuple(checks))


def _grid(batch: Batch, symbols: tuple[str, ...], step: timedelta) -> str:
    every = literal(step)
    listed = [(symbol, list(part.grid(step))) for symbol in symbols if (part := _listed(batch, symbol)) is not None]
    if symbols:
        spans = [(symbol, slots[0], slots[-1]) for symbol, slots in listed if slots]
        if not spans:
            return "select null::text as symbol, null::timestamptz as slot where false"
        values = ", ".join(f"({literal(s)}, {literal(a)}, {literal(b)})" for s, a, b in spans)
        return (
            f"select symbol, slot from (values {values}) as listed (symbol, first, last),"
            f" generate_series(first, last, {every}) as slot"
        )
    slots = list(batch.window.grid(step))
    if not slots:
        return "select null::text as symbol, null::timestamptz as slot where false"
    return (
        "select symbol, slot from (select distinct symbol from staged) as came,"
        f" generate_series({literal(slots[0])}, {literal(slots[-1])}, {every}) as slot"
    )


def _listed(batch: Batch, symbol: str) -> Window | None:
    # A venue has no bars of an instrument before its listing or after its delisting.
    try:
        instrument = INSTRUMENTS.get(batch.source, symbol)
    except UserError:
        return batch.window
    start = max(batch.window.start, datetime.combine(instrument.valid_from, time(), UTC))
    end = batch.window.end
    if instrument.valid_to is not None:
        end = min(end, datetime.combine(instrument.valid_to, time(), UTC))
    return Window(start, end) if start < end else None


def _settlements(batch: Batch, symbols: tuple[str, ...]) -> str:
    start, end = literal(batch.window.start), literal(batch.window.end)
    values = ", ".join(f"({literal(symbol)})" for symbol in symbols)
    # The interval is what the venue last stated before the window, else what it states in this batch.
    return f"""select listed.symbol, slot
from (values {values}) as listed (symbol),
lateral (select coalesce(
    (select known.interval_hours from raw.funding_rates as known
     where known.source = {literal(batch.source)} and known.symbol = listed.symbol and known.kind = 'settled'
       and known.event_at < {start} and known.event_at >= {start} - interval '7 days' and not known.is_tombstone
     order by known.event_at desc, known.known_at desc limit 1),
    (select min(staged.interval_hours) from staged
     where staged.symbol = listed.symbol and staged.kind = 'settled' and staged.interval_hours > 0)
) * 3600 as seconds) as pace,
lateral generate_series(
    to_timestamp((ceil(extract(epoch from {start}) / seconds) * seconds)::double precision),
    {end} - interval '1 microsecond',
    make_interval(secs => seconds::double precision)
) as slot
where seconds > 0"""
