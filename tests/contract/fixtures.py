"""The fixtures of `tests/fixtures/`, read by the convention of README.md, and ways to damage them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests.support import ROOT

from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record, Rejected
from coinswarm.sources import SOURCES
from coinswarm.sources.parsing import parse_payload, parser_for
from coinswarm.sources.spec import Mode, Parser, Request

FOLDER = ROOT / "tests" / "fixtures"


@dataclass(frozen=True, slots=True)
class Fixture:
    """One recorded or hand-written body, and what it must mean."""

    source: str
    dataset: str
    path: Path
    meta: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.source}/{self.path.stem}"

    @property
    def body(self) -> bytes:
        return self.path.read_bytes()

    @property
    def is_json(self) -> bool:
        return self.path.suffix == ".json"

    @property
    def has_window(self) -> bool:
        """Whether it answers for a span of time, and not for the present state."""
        present = {feed.name for feed in SOURCES[self.source].feeds if feed.mode is Mode.NOW}
        return bool(self.request.start and self.request.end) and self.meta.get("feed") not in present

    @property
    def request(self) -> Request:
        fields = dict(self.meta.get("request", {}))
        for name in ("start", "end", "received_at"):
            if fields.get(name):
                fields[name] = datetime.fromisoformat(fields[name])
        return Request(**{"endpoint": "", **fields, "source": self.source, "dataset": self.dataset})

    @property
    def parser(self) -> Parser:
        spec = SOURCES[self.source]
        named = [feed for feed in spec.feeds if feed.name == self.meta.get("feed")]
        return named[0].parse if named else parser_for(spec, self.dataset)

    def parse(self, body: bytes | None = None, **changes: Any) -> list[Record | Rejected]:
        request = replace(self.request, **changes)
        return list(parse_payload(self.parser, self.body if body is None else body, request))

    def records(self, body: bytes | None = None, **changes: Any) -> list[Record]:
        return [outcome for outcome in self.parse(body, **changes) if isinstance(outcome, Record)]


def all_fixtures() -> list[Fixture]:
    """Every fixture of a listed source, in order of path."""
    found = []
    for meta in sorted(FOLDER.glob("*/*.meta.json")):
        stem = meta.name.removesuffix(".meta.json")
        bodies = [p for p in meta.parent.glob(f"{stem}.*") if p != meta and not p.name.endswith(".meta.json")]
        assert len(bodies) == 1, f"{meta} needs exactly one body beside it, not {bodies}"
        if meta.parent.name in SOURCES:
            found.append(Fixture(meta.parent.name, stem.split("__")[0], bodies[0], json.loads(meta.read_text())))
    return found


FIXTURES = all_fixtures()
JSON_FIXTURES = [f for f in FIXTURES if f.is_json and f.meta.get("malformed", True)]


def described(record: Record) -> dict[str, Any]:
    """A record in the form of the meta files: decimals as their digits, times as ISO 8601."""
    fields = {
        "symbol": record.symbol,
        "event_at": record.event_at,
        "published_at": record.published_at,
        "available_at": record.available_at,
        "available_basis": record.available_basis,
        "final": record.final,
        "is_tombstone": record.is_tombstone,
        **record.values,
    }
    return {name: _described(value) for name, value in fields.items()}


def _described(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    return value.isoformat() if isinstance(value, datetime) else value


Path_ = tuple[str | int, ...]


def leaves(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Paths of all scalars of a JSON value."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from leaves(part, (*path, index))
    else:
        yield path


def nodes(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Paths of all values below the top, containers too."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from nodes(part, (*path, key))


def at(value: Any, path: Path_) -> Any:
    for key in path:
        value = value[key]
    return value


def with_value(value: Any, path: Path_, new: Any) -> Any:
    """A copy of a JSON value with the part at `path` replaced."""
    if not path:
        return new
    changed = copy.deepcopy(value)
    at(changed, path[:-1])[path[-1]] = new
    return changed


def without(value: Any, path: Path_) -> Any:
    """A copy of a JSON value without the part at `path`."""
    changed = copy.deepcopy(value)
    del at(changed, path[:-1])[path[-1]]
    return changed


def row_lists(value: Any) -> list[Path_]:
    """Paths of the lists whose items are objects or arrays: the rows."""
    found = [()] if isinstance(value, list) else []
    found += [path for path in nodes(value) if isinstance(at(value, path), list)]
    return [p for p in found if at(value, p) and all(isinstance(row, dict | list) for row in at(value, p))]


def encoded(value: Any) -> bytes:
    """JSON bytes; NaN and Infinity come out as their (invalid) literals."""
    return json.dumps(value).encode()


def decoded(fixture: Fixture) -> Any:
    """The fixture's JSON with numbers as Decimal-preserving text where they are not whole."""
    return json.loads(fixture.body)


def columns_of(fixture: Fixture, *kinds: str) -> tuple[str, ...]:
    """Names of the dataset's columns of these kinds."""
    return tuple(c.name for c in dataset_named(fixture.dataset).columns if c.kind.name in kinds)
