"""What a venue traded against what `raw` has and what gaps admit: nothing may be missing that no open gap names.

Trades are compared over a closed range, from the millisecond after the first trade in `raw` to that of the last, by
number where the venue has numbers. Bybit has none: there the counts have to agree in every stretch between the gaps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import requests
from tests.integration.ticks.trade_streams import TradeStream

from coinswarm.ingest.entries import AGGREGATING_MARKETS
from coinswarm.ingest.repair import MARGIN

Query = Callable[..., list[tuple[Any, ...]]]
_MARGIN_MS = MARGIN.seconds * 1000
_TRADES = """
    SELECT trade_id, coalesce(sequence, CASE WHEN trade_id ~ '^[0-9]{1,18}$' THEN trade_id::bigint END),
        (extract(epoch FROM event_at) * 1000)::bigint
    FROM raw.trades WHERE source = %s AND symbol = %s ORDER BY event_at
"""
_GAPS = """
    SELECT first_missing::bigint, last_missing::bigint, (extract(epoch FROM opened_at) * 1000)::bigint,
        (extract(epoch FROM closed_at) * 1000)::bigint
    FROM (
        SELECT CASE WHEN first_missing ~ '^[0-9]{1,18}$' THEN first_missing END AS first_missing,
            CASE WHEN last_missing ~ '^[0-9]{1,18}$' THEN last_missing END AS last_missing, opened_at, closed_at
        FROM ops.stream_gaps_current
        WHERE venue = %s AND symbol = %s AND channel = 'trades' AND state <> 'repaired'
    ) AS known
"""
_REPAIRED = """
    SELECT coalesce(sum(repaired_count), 0)::bigint FROM ops.stream_gaps_current
    WHERE venue = %s AND symbol = %s AND channel = 'trades'
"""
_STILL_OPEN = """
    SELECT venue, symbol, reason, state, opened_at, closed_at, first_missing, last_missing, missing_count,
        repaired_count, detail
    FROM ops.stream_gaps_current WHERE channel = 'trades' AND state <> 'repaired' ORDER BY 1, 2, opened_at
"""
HEAD = "venue    symbol          produced     raw duplicates missing in open gaps repaired"


@dataclass(frozen=True)
class Reckoning:
    """Of one stream. `strangers` are trades in `raw` that the venue did not make in that range."""

    stream: TradeStream
    range_ms: tuple[int, int]
    produced: int
    raw: int
    duplicates: int
    missing: int
    in_open_gaps: int
    repaired: int
    strangers: int = 0

    @property
    def adds_up(self) -> bool:
        """Every trade is in raw, once, or in an open gap."""
        return (
            self.duplicates == self.strangers == 0
            and self.raw == self.produced - self.missing
            and self.in_open_gaps == self.missing
        )

    def __str__(self) -> str:
        instrument = self.stream.instrument
        return (
            f"{instrument.source:<9}{instrument.symbol:<15}{self.produced:>9}{self.raw:>8}{self.duplicates:>11}"
            f"{self.missing:>8}{self.in_open_gaps:>13}{self.repaired:>9}"
        )


def range_of(query: Query, stream: TradeStream, run_ms: tuple[int, int]) -> tuple[int, int]:
    """From the first trade in raw to the last, without these two; the whole run if there is none."""
    rows = query(_TRADES, stream.instrument.source, stream.instrument.symbol)
    return (rows[0][2] + 1, rows[-1][2]) if rows else run_ms


def reckon(query: Query, url: str, stream: TradeStream, range_ms: tuple[int, int]) -> Reckoning:
    """Compare one stream in a half-open range of milliseconds; `url` is that of the sandbox."""
    instrument = stream.instrument
    name = instrument.source, instrument.symbol
    rows = query(_TRADES, *name)
    start, end = range_ms
    inside = [(trade_id, number, at) for trade_id, number, at in rows if start <= at < end]
    duplicates = len(rows) - len({trade_id for trade_id, _, _ in rows})
    gaps = query(_GAPS, *name)
    ((repaired,),) = query(_REPAIRED, *name)
    if not stream.numbered:
        produced, missing, known = _by_counts(url, stream, [at for _, _, at in inside], gaps, start, end)
        return Reckoning(stream, (start, end), produced, len(inside), duplicates, missing, known, repaired)
    made = _made(url, stream, start, end)
    nameless = any(number is None for _, number, _ in inside)
    names = _numbers_of_names(url, stream, min(made)) if made and nameless else {}
    have = {names.get(trade_id) if number is None else number for trade_id, number, _ in inside}
    missing_numbers = made - have
    in_open = {
        number
        for number in missing_numbers
        if any(first is not None and last is not None and first <= number <= last for first, last, _, _ in gaps)
    }
    missing, strangers = len(missing_numbers), len(have - made)
    return Reckoning(
        stream, (start, end), len(made), len(inside), duplicates, missing, len(in_open), repaired, strangers
    )


def still_open(query: Query) -> list[str]:
    """The gaps that repair could not close, and why."""
    return [" ".join(map(str, row)) for row in query(_STILL_OPEN)]


def _produced(url: str, stream: TradeStream, start: int, end: int) -> dict[str, Any]:
    instrument = stream.instrument
    query: dict[str, Any] = {**stream.query, "start": start, "end": end}
    answer = requests.get(f"{url}/_control/ticks", params=query, timeout=30)
    assert answer.ok, answer.text
    told: dict[str, Any] = answer.json()
    aggregated = (instrument.source, instrument.market) in AGGREGATING_MARKETS
    return told["orders"] if aggregated else told


def _made(url: str, stream: TradeStream, start: int, end: int) -> set[int]:
    told = _produced(url, stream, start, end)
    return set(range(told["first_id"], told["last_id"] + 1)) if told["count"] else set()


def _numbers_of_names(url: str, stream: TradeStream, back_to: int) -> dict[str, int]:
    """Kraken Futures gives a trade's number over the socket only; its pages of the past name both here."""
    known: dict[str, int] = {}
    before = ""
    while True:
        query = {"symbol": stream.instrument.venue_symbol} | ({"lastTime": before} if before else {})
        page = requests.get(f"{url}/{stream.host}/derivatives/api/v3/history", params=query, timeout=30).json()
        known |= {row["uid"]: row["trade_id"] for row in page["history"]}
        if min(known.values()) <= back_to:
            return known
        # Exclusive; others may have been in the same millisecond.
        oldest = datetime.fromisoformat(page["history"][-1]["time"]) + timedelta(milliseconds=1)
        before = oldest.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _by_counts(
    url: str, stream: TradeStream, times: Sequence[int], gaps: Sequence[tuple[Any, ...]], start: int, end: int
) -> tuple[int, int, int]:
    """Produced, missing, and how many of those in open gaps."""
    windows = [(opened - _MARGIN_MS, end if closed is None else closed + _MARGIN_MS) for _, _, opened, closed in gaps]
    produced = missing = known = 0
    for first, last, open_gap in _stretches(windows, start, end):
        made = int(_produced(url, stream, first, last)["count"])
        lack = made - sum(first <= at < last for at in times)
        produced += made
        # What is too much in one stretch must not make up for what is missing in another.
        missing += abs(lack)
        known += lack if open_gap else 0
    return produced, missing, known


def _stretches(windows: Sequence[tuple[int, int]], start: int, end: int) -> Iterator[tuple[int, int, bool]]:
    """The range, cut at the ends of the windows: each stretch, and whether it lies in one."""
    cuts = sorted({start, end, *(min(max(cut, start), end) for window in windows for cut in window)})
    for first, last in pairwise(cuts):
        yield first, last, any(begin <= first and last <= until for begin, until in windows)
