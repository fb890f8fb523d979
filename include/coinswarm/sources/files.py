"""A payload in a file, parsed as a task would: what `coinswarm parse` prints of a quarantined body."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import ContractViolation, UserError
from coinswarm.names import safe_name
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sources import source_named
from coinswarm.sources.envelopes import Payload, payloads
from coinswarm.sources.parsing import parse_payload, parser_for
from coinswarm.sources.reading import MAX_BODY_BYTES
from coinswarm.sources.spec import Request, SourceSpec
from coinswarm.timeframes import duration

_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_GZIP_MAGIC = b"\x1f\x8b"


def parse_file(
    source: str, dataset: str, file: Path, *, symbol: str = "", timeframe: str = ""
) -> Iterator[dict[str, Any]]:
    """Lines for every row of a payload, decimals as text: a record's columns, or `rejected` with field and reason.

    `-` reads standard input; gzip and zstd are unpacked, and the envelopes of `envelopes` are opened. `symbol` is
    needed where rows carry no name, `timeframe` for bars.

    Raises:
        UserError: unknown source, dataset, symbol or timeframe, or no such file.
        ContractViolation: the only body of the file is unusable. Of several, the bad ones become `rejected` lines.
    """
    spec = source_named(source)
    dataset_named(dataset)
    parse = parser_for(spec, dataset)
    if timeframe:
        duration(timeframe)
    bodies = list(payloads(_content(file)))
    for payload in bodies:
        request = _request(spec, dataset, payload, symbol, timeframe)
        try:
            for outcome in parse_payload(parse, payload.body, request):
                yield _line(outcome)
        except ContractViolation as error:
            if len(bodies) == 1:
                raise
            yield {"rejected": str(error), "url": payload.url[:300]}


def _content(file: Path) -> bytes:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise UserError(f"cannot read {file}: {error.strerror}") from None
    if content.startswith(_GZIP_MAGIC):
        return _gunzip(content, file)
    return _unzstd(content, file) if content.startswith(_ZSTD_MAGIC) else content


def _gunzip(content: bytes, file: Path) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            plain = stream.read(MAX_BODY_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{file} is not a whole gzip file: {error}") from None
    return _not_too_large(plain, file)


def _unzstd(content: bytes, file: Path) -> bytes:
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(content) as stream:
            plain = stream.read(MAX_BODY_BYTES + 1)
    except zstandard.ZstdError as error:
        raise UserError(f"{file} is not a whole zstd file: {error}") from None
    return _not_too_large(plain, file)


def _not_too_large(plain: bytes, file: Path) -> bytes:
    if len(plain) > MAX_BODY_BYTES:
        raise UserError(f"{file} holds more than {MAX_BODY_BYTES} bytes")
    return plain


def _request(spec: SourceSpec, dataset: str, payload: Payload, symbol: str, timeframe: str) -> Request:
    venue_symbol, market = payload.venue_symbol, spec.market_of(payload.url)
    instrument = _instrument(spec, symbol, venue_symbol, market)
    if instrument is not None:
        if venue_symbol not in ("", instrument.venue_symbol):
            raise UserError(f"the payload is about {venue_symbol[:40]!r}, {symbol} is {instrument.venue_symbol!r}")
        symbol, venue_symbol, market = instrument.symbol, instrument.venue_symbol, instrument.market
    return Request(
        source=spec.slug,
        dataset=dataset,
        endpoint=payload.endpoint,
        # What the registry does not know keeps the name that the caller or the address gives it.
        symbol=symbol or venue_symbol or "global",
        venue_symbol=venue_symbol,
        market=market,
        timeframe=timeframe,
        received_at=payload.received_at,
    )


def _instrument(spec: SourceSpec, symbol: str, venue_symbol: str, market: str) -> Instrument | None:
    if symbol:
        safe_name(symbol, what="symbol")
        return next((i for i in INSTRUMENTS.of(spec.slug) if i.symbol == symbol), None)
    for instrument in INSTRUMENTS.of(spec.slug):
        if venue_symbol and instrument.venue_symbol == venue_symbol and market in ("", instrument.market):
            return instrument
    return None


def _line(outcome: Record | Rejected) -> dict[str, Any]:
    if isinstance(outcome, Rejected):
        return {
            "rejected": outcome.reason,
            "row": outcome.row,
            "field": outcome.field,
            "payload": _plain(outcome.payload),
        }
    fields = {
        "symbol": outcome.symbol,
        "event_at": outcome.event_at,
        **outcome.values,
        "published_at": outcome.published_at,
        "final": outcome.final,
    }
    return {name: _plain(value) for name, value in fields.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}" if value.is_finite() and abs(value.adjusted()) < 1000 else str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
