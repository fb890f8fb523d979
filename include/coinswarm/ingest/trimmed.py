"""Holes that begin behind the pump: entries that Redis trimmed before the archive came, and refused batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from coinswarm.batches import Batch
from coinswarm.datasets.records import Rejected
from coinswarm.ingest.entries import Reader, Unfit, dataset_of, lists
from coinswarm.ingest.gaps import Gap, gap_id_of, open_gap
from coinswarm.ingest.streams import Entry, Missed, Streams, milliseconds_of
from coinswarm.registry import INSTRUMENTS
from coinswarm.storage.database import Session
from coinswarm.timeframes import from_milliseconds

# Venues that number the trades of an instrument without a hole: by `seq` of the entry, or by its id.
NUMBERED = frozenset({"binance", "coinbase", "deribit", "kraken", "okx"})
_PEEK = 2_000


def note_missed(
    conn: Session,
    streams: Streams,
    missed: Iterable[Missed],
    following: Mapping[str, Sequence[Entry]] | None = None,
) -> int:
    """Open a gap, per venue of the stream, for entries that were trimmed; returns how many entries that were.

    The stream tells how many entries are gone, not whose: where a venue numbers its trades, what lies between the last
    archived number and the next one is the hole, and a venue without a hole there gets no gap.
    """
    total = 0
    for one in missed:
        total += one.entries
        entries = (following or {}).get(one.key) or streams.following(one.key, one.after, _PEEK)
        for gap in _gaps_of(conn, one, entries):
            open_gap(conn, gap)
    return total


def _gaps_of(conn: Session, missed: Missed, following: Sequence[Entry]) -> Iterable[Gap]:
    reader, dataset = Reader(missed.key), dataset_of(missed.key).name
    next_numbers = _first_numbers(following)
    before = milliseconds_of(missed.before) or milliseconds_of(missed.after)
    after = milliseconds_of(missed.after) or before
    for venue in sorted({i.source for i in INSTRUMENTS} & (_venues(conn, dataset, reader.symbol) | set(next_numbers))):
        if not lists(venue, reader.symbol):
            continue
        last = _last(conn, dataset, venue, reader.symbol)
        first = next_numbers.get(venue)
        low = high = count = None
        if venue in NUMBERED and dataset == "trades":
            low = None if last is None or last.number is None else last.number + 1
            high = None if first is None else first - 1
            count = high - low + 1 if low is not None and high is not None else None
            if count is not None and count <= 0:
                continue
        detail = {"stream": missed.key, "entries": missed.entries, "after": missed.after, "before": missed.before}
        opened_at = from_milliseconds(after)
        if not milliseconds_of(missed.after):
            # The archive had read nothing of this stream yet.
            opened_at = min(opened_at, last.at) if last is not None else opened_at
            if last is None:
                detail |= {"final": True, "unrepairable": "nobody knows where it began"}
        yield Gap(
            # What one page after the other tells of the same numbers is one gap.
            gap_id=gap_id_of("trimmed", missed.key, venue, missed.after if low is None else str(low)),
            revision=1,
            venue=venue,
            symbol=reader.symbol,
            channel=missed.key.partition(":")[0],
            state="open",
            reason="trimmed",
            opened_at=opened_at,
            closed_at=from_milliseconds(before),
            first_missing=None if low is None else str(low),
            last_missing=None if high is None else str(high),
            missing=count,
            repaired=0,
            detail=detail,
        )


def note_unfit(conn: Session, batch: Batch, refusals: Iterable[Rejected]) -> None:
    """Open a gap, per instrument, for trades of a batch that are no rows, unless another entry says the same trade."""
    found: dict[str, list[tuple[int, str]]] = {}
    for payload in (one.payload for one in refusals if batch.dataset == "trades"):
        reader, entry = Reader(payload["stream"]), Entry(payload["id"], payload["fields"])
        if isinstance(reader.read(entry), Unfit) and lists(batch.source, reader.symbol):
            found.setdefault(reader.symbol, []).append((milliseconds_of(entry.id), _number_of(entry)))
    for symbol, trades in found.items():
        numbers = sorted(int(number) for _, number in trades if number.isdecimal() and batch.source in NUMBERED)
        times = sorted(from_milliseconds(at) for at, _ in trades)
        _open_malformed(conn, batch, "unfit", symbol, times, [str(number) for number in numbers])


def note_refused(conn: Session, batch: Batch, lines: Sequence[str]) -> None:
    """Open a gap, per instrument, for trades of a batch that was refused as a whole."""
    if batch.dataset != "trades":
        return
    found: dict[str, list[tuple[str, str]]] = {}
    for line in lines:
        fields = line.split("\t")
        found.setdefault(fields[1], []).append((fields[2], fields[8]))
    for symbol, trades in found.items():
        ids = sorted((trade_id for _, trade_id in trades), key=lambda one: (len(one), one))
        times = sorted(_moment(at) for at, _ in trades)
        _open_malformed(conn, batch, "refused", symbol, times, ids)


def _open_malformed(
    conn: Session, batch: Batch, kind: str, symbol: str, times: Sequence[datetime], ids: Sequence[str]
) -> None:
    """A gap for trades of a batch: `times` in order, one for each; `ids` in order, none if they say nothing."""
    open_gap(
        conn,
        Gap(
            gap_id=gap_id_of(kind, str(batch.batch_id), symbol),
            revision=1,
            venue=batch.source,
            symbol=symbol,
            channel="trades",
            state="open",
            reason="malformed",
            opened_at=times[0],
            closed_at=times[-1],
            first_missing=ids[0] if ids else None,
            last_missing=ids[-1] if ids else None,
            missing=len(times),
            repaired=0,
            detail={"batch": str(batch.batch_id)},
        ),
    )


def _first_numbers(entries: Sequence[Entry]) -> dict[str, int | None]:
    """Number of the first entry of each venue; None where it has none."""
    found: dict[str, int | None] = {}
    for entry in entries:
        number = _number_of(entry)
        venue = _fields(entry).get("venue", "")
        if venue not in found:
            found[venue] = int(number) if venue in NUMBERED and number.isdecimal() else None
    return found


def _number_of(entry: Entry) -> str:
    fields = _fields(entry)
    return fields.get("seq") or fields.get("id") or ""


def _fields(entry: Entry) -> dict[str, str]:
    return dict(zip(entry.fields[::2], entry.fields[1::2], strict=False))


def _venues(conn: Session, dataset: str, symbol: str) -> set[str]:
    # Whoever had something on this stream lately may have lost something.
    rows = conn.execute(
        f"SELECT DISTINCT source FROM raw.{dataset} WHERE symbol = %s"
        " AND event_at > clock_timestamp() - interval '1 day'",
        [symbol],
    ).fetchall()
    return {source for (source,) in rows}


class _Last(NamedTuple):
    """The newest event of an instrument that raw has; trades may have a number."""

    number: int | None
    at: datetime


def _last(conn: Session, dataset: str, venue: str, symbol: str) -> _Last | None:
    number = "coalesce(sequence::text, trade_id)" if dataset == "trades" else "''"
    order = "event_at DESC, length(trade_id) DESC, trade_id DESC" if dataset == "trades" else "event_at DESC"
    row = conn.execute(
        f"SELECT {number}, event_at FROM raw.{dataset} WHERE source = %s AND symbol = %s"
        f" AND event_at > clock_timestamp() - interval '1 day' ORDER BY {order} LIMIT 1",
        [venue, symbol],
    ).fetchone()
    return _Last(int(row[0]) if row[0].isdecimal() else None, row[1]) if row else None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
