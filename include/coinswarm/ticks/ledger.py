"""Sessions, gaps and verdicts to `ops`, by one thread behind a bounded queue: the pump never waits for PostgreSQL."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from coinswarm.connections import Connection
from coinswarm.errors import CoinswarmError
from coinswarm.storage.database import Session, connect
from coinswarm.ticks.gaps import Gap
from coinswarm.ticks.verdicts import MINUTE_MS, MinuteVerdict

LIMIT = 20_000
_BATCH = 500
_RETRY_SECONDS = (0.5, 1.0, 2.0, 5.0, 10.0, 15.0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_log = logging.getLogger(__name__)

_SESSION = """INSERT INTO ops.stream_sessions (session_id, shard, owner, fencing_token, state, reason, at, counters)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s)"""
_GAP = """INSERT INTO ops.stream_gaps (gap_id, revision, venue, symbol, channel, state, reason, opened_at, closed_at,
    first_missing, last_missing, missing_count, repaired_count, session_id, detail)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"""
_VERDICT = """INSERT INTO ops.stream_verdicts
    (venue, symbol, channel, minute, verdict, events, gaps, detail, session_id)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""

_JUDGED = """SELECT stream.symbol, stream.channel, judged.minute
    FROM unnest(%s::text[], %s::text[]) AS stream (symbol, channel)
    CROSS JOIN LATERAL (
        SELECT max(minute) AS minute FROM ops.stream_verdicts
        WHERE venue = %s AND symbol = stream.symbol AND channel = stream.channel
    ) AS judged
    WHERE judged.minute IS NOT NULL"""


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """A row of `ops.stream_sessions`."""

    shard: str
    owner: str
    token: int
    state: str
    reason: str
    at: datetime
    counters: Mapping[str, Any]


class GapNote(NamedTuple):
    """A revision of a gap as it is kept where a dead process cannot take it along."""

    name: str
    text: str


_Row = tuple[str, tuple[Any, ...]]


class Ledger:
    """Takes rows from the event loop, writes them in order and in batches, and tries again until it works.

    The queue is bounded. When it is full the oldest verdicts go first (`dropped`): gaps say more, and a minute without
    a verdict counts as unproven.
    """

    def __init__(self, connection: Connection | None, session_id: UUID, limit: int = LIMIT) -> None:
        """`connection` None counts and forgets."""
        self.written = 0
        self.dropped = 0
        self.failures = 0
        self._connection = connection
        self._session_id = session_id
        self._limit = limit
        self._rows: deque[_Row] = deque()
        self._settled: deque[str] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing_at: float | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        if self._connection is not None:
            self._thread = threading.Thread(target=self._work, name="tick-ledger", daemon=True)
            self._thread.start()

    @property
    def waiting(self) -> int:
        """Rows that are not written yet."""
        return len(self._rows)

    def session(self, event: SessionEvent) -> None:
        """Record an event of the session."""
        self._put(
            _SESSION,
            (
                self._session_id,
                event.shard,
                event.owner,
                event.token,
                event.state,
                event.reason,
                event.at,
                json.dumps(dict(event.counters)),
            ),
        )

    def gap(self, gap: Gap) -> GapNote | None:
        """Record a revision of a gap. Returns what to keep elsewhere until it is `settled`, if there is a ledger."""
        row = (
            str(gap.gap_id),
            gap.revision,
            gap.venue,
            gap.symbol,
            gap.channel,
            gap.state.value,
            gap.reason.value,
            at(gap.opened_ms).isoformat(),
            None if gap.closed_ms is None else at(gap.closed_ms).isoformat(),
            gap.first_missing,
            gap.last_missing,
            gap.missing,
            gap.repaired,
            str(self._session_id),
            json.dumps(dict(gap.detail)),
        )
        self._put(_GAP, row)
        return None if self._connection is None else GapNote(_name(row), json.dumps(row))

    def repeat(self, note: GapNote) -> None:
        """Record what a session before us kept: it may have died before its ledger was written."""
        try:
            row = json.loads(note.text)
        except ValueError:
            row = None
        if isinstance(row, list) and len(row) == _GAP.count("%s") and _name(row) == note.name:
            # As text, so that what does not fit is refused as data, like any bad row.
            self._put(_GAP, tuple(None if value is None else str(value) for value in row))
        else:
            self._settled.append(note.name)

    def settled(self) -> list[str]:
        """Names of the notes that need not be kept any more, since the last call."""
        names = []
        while self._settled:
            names.append(self._settled.popleft())
        return names

    def verdict(self, row: MinuteVerdict) -> None:
        """Record a verdict, or its revision."""
        self._put(
            _VERDICT,
            (
                row.venue,
                row.symbol,
                row.channel,
                at(row.minute_ms),
                row.verdict.value,
                row.events,
                row.gaps,
                json.dumps({"troubles": row.troubles} if row.troubles else {}),
                self._session_id,
            ),
        )

    def judged_to(self, venue: str, streams: Sequence[tuple[str, str]]) -> dict[tuple[str, str], int]:
        """Up to when streams (symbol, channel) have verdicts, in milliseconds; blocks, and is empty if that fails."""
        if self._connection is None:
            return {}
        symbols, channels = [symbol for symbol, _ in streams], [channel for _, channel in streams]
        try:
            with connect(self._connection) as session:
                rows = session.execute(_JUDGED, (symbols, channels, venue)).fetchall()
        except (psycopg.Error, CoinswarmError) as error:
            _log.warning("tick ledger: %s", error)
            return {}
        return {(symbol, channel): int(minute.timestamp() * 1000) + MINUTE_MS for symbol, channel, minute in rows}

    def close(self, seconds: float) -> bool:
        """Write what waits, for at most so long; blocks. False if something was not written."""
        self._closing_at = time.monotonic() + seconds
        self._wake.set()
        if self._thread is not None:
            self._thread.join(seconds + 1)
        return self._connection is None or not self._rows

    def _put(self, statement: str, values: tuple[Any, ...]) -> None:
        if self._connection is None:
            return
        with self._lock:
            self._rows.append((statement, values))
            if len(self._rows) > self._limit:
                self._drop()
        self._wake.set()

    def _drop(self) -> None:
        # The writer holds the first batch in its hands.
        for index in range(min(_BATCH, len(self._rows)), len(self._rows)):
            if self._rows[index][0] is _VERDICT:
                del self._rows[index]
                self.dropped += 1
                return
        self._rows.pop()
        self.dropped += 1

    def _work(self) -> None:
        session: Session | None = None
        failures = 0
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._rows:
                try:
                    if session is None and self._connection is not None:
                        session = connect(self._connection)
                    assert session is not None  # noqa: S101
                    self._write(session)
                    failures = 0
                except Exception as error:  # whatever it is: nobody would notice the end of this thread
                    self.failures += 1
                    if not failures:
                        _log.warning("tick ledger: %s", error)
                    if session is not None:
                        session.close()
                        session = None
                    pause = _RETRY_SECONDS[min(failures, len(_RETRY_SECONDS) - 1)]
                    failures += 1
                    if self._pause(pause):
                        return
            if self._closing_at is not None:
                if session is not None:
                    session.close()
                return

    def _pause(self, seconds: float) -> bool:
        """Wait between attempts; True if the time for closing is over."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if self._closing_at is not None and now >= self._closing_at:
                return True
            time.sleep(min(0.1, until - now))
        return False

    def _write(self, session: Session) -> None:
        with self._lock:
            batch = [self._rows[index] for index in range(min(_BATCH, len(self._rows)))]
        try:
            with session.transaction(), session.cursor() as cursor:
                first = 0
                for index in range(1, len(batch) + 1):
                    if index == len(batch) or batch[index][0] is not batch[first][0]:
                        cursor.executemany(batch[first][0], [values for _, values in batch[first:index]])
                        first = index
        except (psycopg.DataError, psycopg.IntegrityError):
            # One row that the store can never take must not hold up all others.
            self._write_one(session, batch[0])
            batch = batch[:1]
        with self._lock:
            for _ in batch:
                self._rows.popleft()
        self._settled.extend(_name(values) for statement, values in batch if statement is _GAP)
        self.written += len(batch)

    def _write_one(self, session: Session, row: _Row) -> None:
        try:
            with session.transaction():
                session.execute(*row)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            self.dropped += 1
            self.written -= 1
            _log.error("tick ledger: a row was refused: %s", error)


def _name(row: Sequence[Any]) -> str:
    return f"{row[0]}:{row[1]}"


def at(milliseconds: int) -> datetime:
    """Aware UTC time."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
