"""Recordings as people keep them: a body alone, lines of `<url> -> <time>: <body>`, or JSON lines with a `body`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit

import msgspec

from coinswarm.timeframes import EPOCH

_LINE = re.compile(rb"(https?://\S+) -> ([0-9]{1,12}(?:\.[0-9]{1,9})?): ")
_HEADER = b" header: "
_SYMBOL_PARAMS = ("symbol", "instId", "product_id", "product_ids", "pair", "instrument_name")


@dataclass(frozen=True, slots=True)
class Payload:
    """One body with what its envelope tells about the request."""

    body: bytes
    url: str = ""
    received_at: datetime | None = None

    @property
    def endpoint(self) -> str:
        """The address without its query."""
        return self.url.partition("?")[0]

    @property
    def venue_symbol(self) -> str:
        """The one symbol that the query names; empty if none or several."""
        query = parse_qs(urlsplit(self.url).query)
        named = [value for name in _SYMBOL_PARAMS for value in query.get(name, ())]
        return named[0] if len(named) == 1 else ""


def payloads(content: bytes) -> Iterator[Payload]:
    """The bodies in a file's content; content in no known envelope is one body, as it is."""
    if _LINE.match(content):
        for line in content.splitlines():
            found = _LINE.match(line)
            if found:
                body, _, _ = line[found.end() :].partition(_HEADER)
                yield Payload(body, found[1].decode("ascii", "replace"), _moment(found[2]))
        return
    entries = _json_lines(content)
    if entries is None:
        yield Payload(content)
        return
    for entry in entries:
        raw = bytes(entry.body)
        # A body kept as text is JSON text of JSON; one kept as an object is taken verbatim, digit by digit.
        body = msgspec.json.decode(raw, type=str).encode() if raw.startswith(b'"') else raw
        yield Payload(body, entry.url or entry.path)


class _Entry(msgspec.Struct):
    body: msgspec.Raw
    url: str = ""
    path: str = ""


def _json_lines(content: bytes) -> list[_Entry] | None:
    first = content.partition(b"\n")[0]
    if not first.startswith(b"{") or b'"body"' not in first:
        return None
    try:
        entries = [msgspec.json.decode(line, type=_Entry) for line in content.splitlines() if line.strip()]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return entries if all(entry.url or entry.path for entry in entries) else None


def _moment(seconds: bytes) -> datetime:
    return EPOCH + timedelta(microseconds=int(Decimal(seconds.decode()) * 1_000_000))
