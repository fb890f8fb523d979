"""Which trades are new, which came before, and which never came."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from enum import Enum
from typing import NamedTuple

MAX_HOLES = 1024
REWIND = 1_000_000
"""Further back than any venue's past trades reach: the venue has begun to count anew."""


class Novelty(Enum):
    """Whether a trade was seen before."""

    NEW = "new"
    DUPLICATE = "duplicate"  # all of it


NEW = Novelty.NEW
DUPLICATE = Novelty.DUPLICATE


class Hole(NamedTuple):
    """Numbers that are missing, both ends included. The trade that showed it is itself new."""

    first_missing: int
    last_missing: int

    @property
    def size(self) -> int:
        """How many are missing."""
        return self.last_missing - self.first_missing + 1


Seen = Novelty | Hole


class Continuity:
    """Numbers of one instrument's trades (or of one connection's frames), each of which has to come once.

    Holes are remembered, so what comes late, out of order or with the past trades of a new connection is new, and
    closes them: `holes` are those that are still open, oldest first, `filled` counts the numbers that came late.
    Nothing is known of numbers before the first one seen: such trades count as new, and no hole is told there.
    Where a venue begins to count anew, so does this, and `restarts` counts it.
    """

    __slots__ = ("_dropped", "_floor", "_holes", "_next", "filled", "restarts")

    def __init__(self, seen_to: int | None = None) -> None:
        """`seen_to` is the last number that another one saw: -1 if counting begins at 0."""
        # No number follows -1, so the first one takes the long way.
        self._next = -1 if seen_to is None else seen_to + 1
        self._floor = 0
        self._holes: list[Hole] = []
        self._dropped: list[Hole] = []
        self.filled = 0
        self.restarts = 0

    @property
    def last(self) -> int:
        """Highest number seen, -1 before the first."""
        return max(self._next - 1, -1)

    @property
    def holes(self) -> tuple[Hole, ...]:
        """What is missing still."""
        return tuple(self._holes)

    def check(self, first: int, last: int) -> Seen:
        """Judge a trade that covers the numbers from `first` to `last`, of which neither is negative."""
        if first == self._next:
            self._next = last + 1
            return NEW
        return self._out_of_order(first, last)

    def _out_of_order(self, first: int, last: int) -> Seen:
        expected = self._next
        if expected < 0:
            self._floor, self._next = first, last + 1
            return NEW
        if first > expected:
            hole = Hole(expected, first - 1)
            self._remember(hole)
            self._next = last + 1
            return hole
        filled = self._fill(first, last)
        if last >= expected:
            self._next = last + 1
            return NEW
        if filled:
            return NEW
        if expected - last > REWIND:
            self._drop(len(self._holes))
            self._floor, self._next = first, last + 1
            self.restarts += 1
            return NEW
        return NEW if first < self._floor else DUPLICATE

    def _remember(self, hole: Hole) -> None:
        self._holes.append(hole)
        if len(self._holes) > MAX_HOLES:
            # What is forgotten is not taken for seen.
            self._floor = self._holes[0].last_missing + 1
            self._drop(1)

    def _drop(self, count: int) -> None:
        self._dropped = [*self._dropped, *self._holes[:count]][-MAX_HOLES:]
        del self._holes[:count]

    def take_dropped(self) -> list[Hole]:
        """Holes that are not watched any more, since the last call: whether they are filled nobody will know."""
        dropped, self._dropped = self._dropped, []
        return dropped

    def _fill(self, first: int, last: int) -> int:
        """Take the numbers out of the holes; how many were in one."""
        holes = self._holes
        if not holes or last < holes[0].first_missing or first > holes[-1].last_missing:
            return 0
        # The first hole that does not end before `first`.
        at = bisect_left(holes, first, key=lambda hole: hole.last_missing)
        filled = 0
        while at < len(holes) and holes[at].first_missing <= last:
            begin, end = holes[at]
            rest = []
            if begin < first:
                rest.append(Hole(begin, first - 1))
            if last < end:
                rest.append(Hole(last + 1, end))
            filled += min(end, last) - max(begin, first) + 1
            holes[at : at + 1] = rest
            if last < end:
                break
            at += len(rest)
        self.filled += filled
        if len(holes) > MAX_HOLES:
            self._floor = holes[0].last_missing + 1
            self._drop(1)
        return filled


class Recent:
    """The last ids of one instrument's trades, for venues that do not number them: finds duplicates, proves nothing."""

    __slots__ = ("_ids", "_known", "_limit")

    def __init__(self, limit: int = 4096) -> None:
        self._known: set[str] = set()
        self._ids: deque[str] = deque()
        self._limit = limit

    @property
    def last(self) -> str:
        """The id that came last; empty if none did."""
        return self._ids[-1] if self._ids else ""

    def __contains__(self, trade_id: object) -> bool:
        return trade_id in self._known

    def check(self, trade_id: str) -> Novelty:
        """Judge a trade by its id."""
        known, ids = self._known, self._ids
        if trade_id in known:
            return DUPLICATE
        known.add(trade_id)
        ids.append(trade_id)
        if len(ids) > self._limit:
            known.remove(ids.popleft())
        return NEW
