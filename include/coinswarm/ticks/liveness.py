"""Is a stream that says nothing quiet, or dead? An acknowledged subscription proves neither."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

FROZEN_AFTER = 1.5
"""Silence in units of `quiet_seconds` after which a stream that nobody can be asked about is called frozen."""
_MOST_PATIENCE = 16


class Pulse(Enum):
    """What a stream's silence means."""

    ALIVE = "alive"
    QUIET = "quiet"  # longer than usual: ask the venue
    FROZEN = "frozen"


@dataclass(slots=True)
class Watch:
    """Of one stream. After a reconnect that brought nothing it is twice as patient: a dead market must cost little."""

    quiet_ms: int
    patience: int = 1
    asked_ms: int = 0
    heard_ms: int = 0
    calm_ms: int = 0
    """When the venue said that there was nothing to hear."""

    def judge(self, heard_ms: int, now_ms: int) -> Pulse:
        """By the time of the last sign of life."""
        if self.quiet_ms <= 0:
            return Pulse.ALIVE
        silent = now_ms - heard_ms
        if silent < self.quiet_ms * self.patience:
            return Pulse.ALIVE
        return Pulse.FROZEN if silent >= self.quiet_ms * self.patience * FROZEN_AFTER else Pulse.QUIET

    def should_ask(self, now_ms: int) -> bool:
        """Whether a quiet stream has not been asked about for a while; notes that it is now."""
        if now_ms - self.asked_ms < self.quiet_ms:
            return False
        self.asked_ms = now_ms
        return True

    def reconnected(self) -> None:
        """The stream was called frozen."""
        self.patience = min(self.patience * 2, _MOST_PATIENCE)

    def heard(self, heard_ms: int) -> None:
        """There was a sign of life of the stream itself."""
        self.heard_ms = heard_ms
        self.patience = 1
