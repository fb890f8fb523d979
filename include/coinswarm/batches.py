"""A batch: one feed of one source over one window, the unit that lands, is audited and is published as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from coinswarm.timeframes import Window


@dataclass(frozen=True, slots=True)
class Batch:
    """Identity of a batch. Its id follows from the other fields, so that a retry is the same batch.

    `feed` is the feed's name (`ohlcv_15m`), `run_id` the orchestrator's run, `symbols` the instruments that were asked.
    """

    source: str
    feed: str
    dataset: str
    timeframe: str
    window: Window
    dag_id: str
    run_id: str
    symbols: tuple[str, ...] = ()

    @property
    def batch_id(self) -> UUID:
        """Deterministic id of the batch."""
        return uuid5(
            NAMESPACE_URL,
            "\x1f".join(
                (
                    self.source,
                    self.feed,
                    self.window.start.isoformat(),
                    self.window.end.isoformat(),
                    self.dag_id,
                    self.run_id,
                    *self.symbols,
                )
            ),
        )

    def to_json(self) -> str:
        """JSON form, for task arguments."""
        fields = asdict(self)
        fields["window"] = [self.window.start.isoformat(), self.window.end.isoformat()]
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Batch:
        """Inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        start, end = (datetime.fromisoformat(moment) for moment in fields["window"])
        fields["window"] = Window(start, end)
        fields["symbols"] = tuple(fields["symbols"])
        return cls(**fields)
