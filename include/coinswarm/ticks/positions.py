"""Where a reader of a Redis stream stands, and whether anything vanished before it came: arithmetic only.

Redis counts what was ever added to a stream. A reader that counts as well knows how much is missing, wherever it was
trimmed: with `ACKED`, Redis also trims behind entries that some group still holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

START = "0-0"
_LARGEST = 2**64 - 1


class Cause(StrEnum):
    """Why entries are not there any more."""

    TRIMMED = "trimmed"  # they were older than the retention
    FORGOTTEN = "forgotten"  # Redis was restarted without its newest entries, or emptied


@dataclass(frozen=True, slots=True)
class StreamState:
    """A stream as Redis describes it: entries ever added, entries left, the ids of the oldest and the newest ever."""

    added: int = 0
    length: int = 0
    first: str = START
    last: str = START

    @property
    def removed(self) -> int:
        """Entries that are not there any more."""
        return self.added - self.length


@dataclass(frozen=True, slots=True)
class Loss:
    """Entries that a reader cannot get; `entries` is None where nobody can tell how many, if any."""

    cause: Cause
    entries: int | None = None


def state_of(info: Sequence[Any]) -> StreamState:
    """From the reply to XINFO STREAM: names and values by turns."""
    known = dict(zip(info[::2], info[1::2], strict=True))
    first = known["first-entry"]
    return StreamState(
        added=int(known["entries-added"]),
        length=int(known["length"]),
        first=str(first[0]) if first else START,
        last=str(known["last-generated-id"]),
    )


def order(entry_id: str) -> tuple[int, int]:
    """What an entry's id sorts by."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number or 0)


def before(milliseconds: int) -> str:
    """The last id before a moment: who reads on from it gets everything since."""
    return f"{milliseconds - 1}-{_LARGEST}" if milliseconds > 0 else START


def reckon(
    state: StreamState, position: str, count: int | None, read: int, *, whole: bool
) -> tuple[Loss | None, int | None]:
    """What is missing, and the count at the end of a reading that was made together with a look at the stream.

    Args:
        state: the stream at that moment.
        position: the last id before the reading.
        count: entries ever added up to `position`; None if unknown.
        read: how many entries the reading gave.
        whole: whether that was all there is, up to the newest.
    """
    if order(position) > order(state.last):
        return Loss(Cause.FORGOTTEN), state.added  # the reader goes on from `state.last`
    if count is None:
        gone = state.removed > 0 and (
            order(state.first) > order(position) if state.length else order(state.last) > order(position)
        )
        return Loss(Cause.TRIMMED) if gone else None, state.added if whole else None
    lost = state.added - count - read if whole else max(state.removed - count, 0)
    if lost < 0:
        return Loss(Cause.FORGOTTEN), state.added
    return Loss(Cause.TRIMMED, lost) if lost else None, count + lost + read
