"""Recorded frames through a venue's decoder, rule, book and checksum, as the pump does it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support import RECORDED

from coinswarm.ticks.book import Book
from coinswarm.ticks.model import Ack, BookUpdate, Event, Level, MalformedFrame, Trade, Unknown
from coinswarm.ticks.protocol import BookRule, Step, Venue


@dataclass
class Outcome:
    """What became of a recording."""

    kinds: Counter[str] = field(default_factory=Counter)
    steps: Counter[Step] = field(default_factory=Counter)
    matching: int = 0
    failing: int = 0
    crossed: int = 0
    malformed: list[str] = field(default_factory=list)
    books: dict[str, Book] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def tops(self) -> dict[str, tuple[Level, Level] | None]:
        return {symbol: book.best() for symbol, book in self.books.items()}


def captured(file: str) -> Iterator[bytes]:
    """Messages of a capture, one a line: `<receive time>: <message>`; lines of the client itself begin with wss."""
    path: Path = RECORDED / file
    text = gzip.decompress(path.read_bytes()).decode() if file.endswith(".gz") else path.read_text("utf-8")
    for line in text.splitlines():
        if line and not line.startswith("wss"):
            yield line.split(": ", 1)[1].encode()


def framed(file: str) -> Iterator[tuple[str, bytes]]:
    """Kind and verbatim text of a list of frames."""
    for line in (RECORDED / file).read_text("utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        yield row["test"], row["raw"].encode()


def replay(venue: Venue, frames: Iterator[bytes]) -> Outcome:
    outcome = Outcome()
    rules: dict[str, BookRule] = {}
    for frame in frames:
        try:
            events = venue.decode(frame)
        except MalformedFrame as error:
            outcome.malformed.append(str(error))
            continue
        for event in events:
            outcome.events.append(event)
            kind = type(event).__name__
            if isinstance(event, Unknown):
                kind = f"Unknown {event.kind}"
            elif isinstance(event, Ack):
                kind = "Ack" if event.accepted else "Ack refused"
            outcome.kinds[kind] += 1
            if isinstance(event, Trade):
                outcome.trades.append(event)
            if isinstance(event, BookUpdate):
                rule = rules.setdefault(event.symbol, venue.book_rule(event.symbol))
                _apply(venue, event, rule, outcome)
    return outcome


def _apply(venue: Venue, update: BookUpdate, rule: BookRule, outcome: Outcome) -> None:
    step = rule.check(update)
    outcome.steps[step] += 1
    if step is not Step.APPLY:
        return
    book = outcome.books.setdefault(update.symbol, Book(update.symbol, venue.book_depth))
    book.apply(update)
    outcome.crossed += book.crossed
    if update.checksum >= 0:
        if venue.checksum(update.symbol, *book.top(25)) == update.checksum:
            outcome.matching += 1
        else:
            outcome.failing += 1
