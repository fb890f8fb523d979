"""What is to be said about each minute of a stream: proven complete, without a sign of trouble, doubtful, or missing.

Minutes are those of the venue's clock, as in `raw`. A hole lies between two events, so it spoils the minutes from the
one to the other; what happens to a connection spoils those of our clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from coinswarm.ticks.protocol import Proof

MINUTE_MS = 60_000
GRACE_MS = 5_000
"""How long after its end a minute is judged: events of its last moments are under way."""
PROOF_MS = 60_000
"""How much longer a numbered stream may take to prove a minute by its next event."""
KEPT = 180
_FUTURE_MS = 300_000


class Verdict(StrEnum):
    """Of one stream and minute."""

    VERIFIED = "verified"
    CLEAN = "clean"
    SUSPECT = "suspect"
    MISSING = "missing"


class Trouble(StrEnum):
    """What makes a minute doubtful."""

    HOLE = "hole"
    RESYNC = "resync"
    CHECKSUM = "checksum"
    RECONNECT = "reconnect"
    DOWN = "down"
    SILENCE = "silence"
    MALFORMED = "malformed"
    REDIS = "redis"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True)
class MinuteVerdict:
    """A row for the ledger; `minute_ms` is its first millisecond."""

    venue: str
    symbol: str
    channel: str
    minute_ms: int
    verdict: Verdict
    events: int
    gaps: int
    troubles: tuple[str, ...]


@dataclass(slots=True)
class _Minute:
    events: int = 0
    gaps: int = 0
    holes: int = 0
    troubles: set[str] = field(default_factory=set)
    told: tuple[Verdict, int, int] | None = None

    @property
    def doubts(self) -> set[str]:
        """All that makes it doubtful now."""
        return self.troubles | {Trouble.HOLE} if self.holes else self.troubles


class Minutes:
    """Counts and troubles of one stream, by minute. The hot path counts in `start <= ts < end` by itself: `count`."""

    __slots__ = ("_minutes", "_next", "count", "down_since", "end", "proof", "proven_ms", "start")

    def __init__(self, proof: Proof) -> None:
        self.proof = proof
        self.start = self.end = self.count = 0
        self.down_since: int | None = None
        self.proven_ms = 0
        """Time of the newest event of an unbroken chain: all before it is proven."""
        self._minutes: dict[int, _Minute] = {}
        self._next: int | None = None

    def begin(self, now_ms: int) -> None:
        """Minutes from this moment on are to be judged."""
        if self._next is None:
            self._next = now_ms // MINUTE_MS

    def roll(self, ts: int, recv_ms: int) -> None:
        """Count an event outside of the present minute, which ends if the event is newer."""
        if not recv_ms - KEPT * MINUTE_MS < ts < recv_ms + _FUTURE_MS:
            ts = recv_ms
        minute = ts // MINUTE_MS
        if ts >= self.end:
            self._store()
            self.start, self.end, self.count = minute * MINUTE_MS, (minute + 1) * MINUTE_MS, 1
        elif ts >= self.start:
            self.count += 1
        else:
            self._at(minute).events += 1

    def flag(self, from_ms: int, to_ms: int, trouble: Trouble, gaps: int = 0) -> None:
        """Spoil the minutes from one moment to another; `gaps` are counted in the last of them."""
        for minute in _minutes_of(from_ms, to_ms):
            self._at(minute).troubles.add(trouble)
        self._at(to_ms // MINUTE_MS).gaps += gaps

    def hole(self, from_ms: int, to_ms: int) -> None:
        """Numbers are missing between two moments, as long as they are not `healed`."""
        for minute in _minutes_of(from_ms, to_ms):
            self._at(minute).holes += 1
        self._at(to_ms // MINUTE_MS).gaps += 1

    def healed(self, from_ms: int, to_ms: int) -> None:
        """All numbers of a hole came late."""
        for minute in _minutes_of(from_ms, to_ms):
            if (state := self._minutes.get(minute)) is not None:
                state.holes = max(state.holes - 1, 0)
        if (state := self._minutes.get(to_ms // MINUTE_MS)) is not None:
            state.gaps = max(state.gaps - 1, 0)

    def close(self, venue: str, symbol: str, channel: str, now_ms: int) -> list[MinuteVerdict]:
        """Verdicts that are due, and those that have changed since they were told."""
        if self._next is None:
            return []
        self._store()
        due = (now_ms - GRACE_MS) // MINUTE_MS
        if self.down_since is not None:
            self.flag(self.down_since, now_ms, Trouble.DOWN)
            self.down_since = now_ms
        rows = []
        for minute in sorted({*self._minutes, *range(max(self._next, due - KEPT), due)}):
            if minute >= due or minute < self._next - KEPT:
                continue
            state = self._at(minute)
            if minute < self._next and state.told is None:
                continue  # before our time: late events of minutes that another session judged
            end_ms = (minute + 1) * MINUTE_MS
            verdict = self._judge(state, end_ms)
            if verdict is Verdict.CLEAN and self.proof is Proof.SEQUENCE and now_ms < end_ms + GRACE_MS + PROOF_MS:
                continue
            told = (verdict, state.events, state.gaps)
            if told != state.told:
                state.told = told
                troubles = tuple(sorted(state.doubts))
                rows.append(
                    MinuteVerdict(
                        venue, symbol, channel, minute * MINUTE_MS, verdict, state.events, state.gaps, troubles
                    )
                )
        self._forget(due)
        return rows

    def export(self) -> dict[str, list[Any]]:
        """What is not judged yet, for a successor."""
        self._store()
        begun = self._next or 0
        return {
            str(minute): [state.events, state.gaps, sorted(state.doubts)]
            for minute, state in self._minutes.items()
            if state.told is None and minute >= begun
        }

    def adopt(self, exported: dict[str, list[Any]]) -> None:
        """Go on where a predecessor left off."""
        for minute, (events, gaps, troubles) in exported.items():
            state = self._at(int(minute))
            state.events += int(events)
            state.gaps += int(gaps)
            state.troubles |= {str(one) for one in troubles}
        if exported:
            self._next = min(int(minute) for minute in exported)

    def _judge(self, state: _Minute, end_ms: int) -> Verdict:
        troubles = state.doubts
        if not state.events and troubles & {Trouble.DOWN, Trouble.SILENCE}:
            return Verdict.MISSING
        if troubles:
            return Verdict.SUSPECT
        if self.proof is Proof.SEQUENCE and self.proven_ms >= end_ms:
            return Verdict.VERIFIED
        if self.proof is Proof.CHECKSUM and state.events:
            return Verdict.VERIFIED
        return Verdict.CLEAN

    def _store(self) -> None:
        if self.count:
            self._at(self.start // MINUTE_MS).events += self.count
            self.count = 0

    def _at(self, minute: int) -> _Minute:
        state = self._minutes.get(minute)
        if state is None:
            state = self._minutes[minute] = _Minute()
        return state

    def _forget(self, due: int) -> None:
        begun = self._next or 0
        waiting = [minute for minute, state in self._minutes.items() if state.told is None and begun <= minute < due]
        self._next = min(waiting, default=max(begun, due))
        for minute in [minute for minute in self._minutes if minute < due - KEPT]:
            del self._minutes[minute]


def _minutes_of(from_ms: int, to_ms: int) -> range:
    last = to_ms // MINUTE_MS
    return range(max(from_ms // MINUTE_MS, last - KEPT), last + 1)


def dump(minutes: Iterable[tuple[str, Minutes]]) -> str:
    """Open minutes of all streams as JSON."""
    return json.dumps({name: state for name, one in minutes if (state := one.export())}, separators=(",", ":"))


def load(text: str) -> dict[str, dict[str, list[Any]]]:
    """What `dump` wrote; empty if it cannot be read."""
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
