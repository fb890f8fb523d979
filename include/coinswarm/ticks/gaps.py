"""Holes in streams: opened when they are seen, closed when it is known what is missing, each change a revision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from coinswarm.ticks.integrity import Hole
from coinswarm.ticks.model import Channel


class GapReason(StrEnum):
    """Why something is missing."""

    SEQUENCE = "sequence"
    CHECKSUM = "checksum"
    SILENCE = "silence"
    DISCONNECT = "disconnect"
    OVERFLOW = "overflow"
    REDIS = "redis"
    MALFORMED = "malformed"
    TRIMMED = "trimmed"
    CRASH = "crash"


class GapState(StrEnum):
    """How much of it has come meanwhile."""

    OPEN = "open"
    PARTLY_REPAIRED = "partly_repaired"
    REPAIRED = "repaired"


@dataclass(frozen=True, slots=True)
class Gap:
    """One revision of a gap. Times are milliseconds; `missing` None is unknown, and then the gap stays open."""

    gap_id: UUID
    revision: int
    venue: str
    symbol: str
    channel: str
    reason: GapReason
    opened_ms: int
    closed_ms: int | None = None
    first_missing: str | None = None
    last_missing: str | None = None
    missing: int | None = None
    repaired: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> GapState:
        """By the counts."""
        if self.missing is None or (self.repaired == 0 and self.missing > 0):
            return GapState.OPEN
        return GapState.REPAIRED if self.repaired >= self.missing else GapState.PARTLY_REPAIRED


class Gaps:
    """The gaps of one session; each change goes to `tell`."""

    def __init__(self, tell: Callable[[Gap], None]) -> None:
        self._tell = tell
        self._running: dict[tuple[str, str, str], Gap] = {}
        self._holes: dict[tuple[str, str], list[Gap]] = {}
        self.opened = 0

    def begin(self, venue: str, symbol: str, channel: str, reason: GapReason, at_ms: int, **detail: Any) -> None:
        """A stream stops: what is missing is known later. One that is stopped already stays as it is."""
        key = (venue, symbol, channel)
        if key not in self._running:
            self._running[key] = self._told(Gap(uuid4(), 1, *key, reason, at_ms, detail=detail))
            self.opened += 1

    def end(
        self, venue: str, symbol: str, channel: str, at_ms: int, hole: Hole | None, *, numbered: bool
    ) -> Gap | None:
        """The stream goes on. A numbered one says by its next event what is missing: `hole`, or nothing at all.

        Returns:
            The gap that has ended by that.
        """
        gap = self._running.pop((venue, symbol, channel), None)
        if gap is None:
            return None
        closed = replace(gap, revision=gap.revision + 1, closed_ms=max(at_ms, gap.opened_ms))
        if numbered and hole is None:
            closed = replace(closed, missing=0)
        elif hole is not None:
            closed = self._with_hole(closed, hole)
        return self._told(closed)

    def refilled(self, gap: Gap, count: int) -> None:
        """All that was missed in a gap that has ended is there now, so many trades."""
        # As the repair says it: its minutes get their verdicts by the same rule.
        detail = {**gap.detail, "pages": 1, "proven": False}
        self._told(replace(gap, revision=gap.revision + 1, missing=count, repaired=count, detail=detail))

    def hole(
        self, venue: str, symbol: str, channel: str, reason: GapReason, hole: Hole, from_ms: int, to_ms: int
    ) -> None:
        """Numbers are missing between two events."""
        gap = Gap(uuid4(), 1, venue, symbol, channel, reason, min(from_ms, to_ms), to_ms)
        self._told(self._with_hole(gap, hole))
        self.opened += 1

    def lost(
        self, venue: str, symbol: str, channel: str, reason: GapReason, from_ms: int, to_ms: int, **known: Any
    ) -> None:
        """Something was lost that had been there; `known` are further fields of `Gap`."""
        self._told(Gap(uuid4(), 1, venue, symbol, channel, reason, min(from_ms, to_ms), to_ms, **known))
        self.opened += 1

    def fill(self, venue: str, symbol: str, holes: Iterable[Hole]) -> list[Gap]:
        """Some numbers came late: `holes` are those that are still missing. Returns gaps that are closed by that."""
        left = tuple(holes)
        kept: list[Gap] = []
        closed: list[Gap] = []
        for gap in self._holes.get((venue, symbol), ()):
            first, last = int(gap.first_missing or 0), int(gap.last_missing or -1)
            missing = sum(max(min(last, hole.last_missing) - max(first, hole.first_missing) + 1, 0) for hole in left)
            repaired = last - first + 1 - missing
            if repaired != gap.repaired:
                gap = self._told(replace(gap, revision=gap.revision + 1, repaired=repaired))
            (kept if missing else closed).append(gap)
        self._holes[venue, symbol] = kept
        return closed

    def give_up(self, venue: str, symbol: str, dropped: Iterable[Hole]) -> None:
        """Nobody will know whether these holes are filled: their gaps stay as they are."""
        for hole in dropped:
            self._holes[venue, symbol] = [
                gap
                for gap in self._holes.get((venue, symbol), ())
                if int(gap.last_missing or -1) < hole.first_missing or int(gap.first_missing or 0) > hole.last_missing
            ]

    def end_all(self, at_ms: int) -> None:
        """We end, and whoever goes on does not know of them; of trades the archive finds the end."""
        for venue, symbol, channel in list(self._running):
            if channel != Channel.TRADES.value:
                self.end(venue, symbol, channel, at_ms, None, numbered=False)

    @property
    def open(self) -> int:
        """How many gaps of this session are not closed by now."""
        return len(self._running) + sum(map(len, self._holes.values()))

    def _with_hole(self, gap: Gap, hole: Hole) -> Gap:
        gap = replace(
            gap, first_missing=str(hole.first_missing), last_missing=str(hole.last_missing), missing=hole.size
        )
        holes = self._holes.setdefault((gap.venue, gap.symbol), [])
        holes.append(gap)
        del holes[:-256]
        return gap

    def _told(self, gap: Gap) -> Gap:
        self._tell(gap)
        return gap
