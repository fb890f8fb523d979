"""Recorded bodies served as they are: a folder with `bodies.json`, which says what answers which request."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coinswarm.sandbox.protocol import Call, Reply


@dataclass(frozen=True, slots=True)
class RecordedBody:
    """One answer: it fits if host and path are equal and every query value here is in the request."""

    host: str
    path: str
    file: Path
    query: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    content_type: str = "application/json"

    def fits(self, call: Call) -> bool:
        """Whether this answers the call."""
        same = call.host == self.host and call.path == self.path
        return same and all(call.query.get(name) == value for name, value in self.query.items())

    def reply(self) -> Reply:
        """The file's bytes (`.gz` is unpacked)."""
        body = self.file.read_bytes()
        if self.file.suffix == ".gz":
            body = gzip.decompress(body)
        return Reply(body, status=self.status, content_type=self.content_type)


def read_bodies(folder: Path) -> tuple[RecordedBody, ...]:
    """The list in `folder/bodies.json`: `[{"host", "path", "file", "query"?, "status"?, "content_type"?}, …]`.

    Files are relative to the folder. Of entries that fit, the one with the most query values answers.

    Raises:
        ValueError: the list is not of that form, or names a file that is not there.
    """
    listing = folder / "bodies.json"
    try:
        entries = json.loads(listing.read_text())
        bodies = [_body(folder, entry) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{listing}: {error}") from error
    return tuple(sorted(bodies, key=lambda body: -len(body.query)))


def _body(folder: Path, entry: Mapping[str, Any]) -> RecordedBody:
    fields = dict(entry)
    path = folder / fields.pop("file")
    if not path.is_file():
        raise ValueError(f"no file {path.name}")
    return RecordedBody(file=path, **fields)
