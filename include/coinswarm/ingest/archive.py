"""From the Redis streams to raw and lake: each trade once, whatever dies on the way.

A run reads what the consumer group was not given yet, in cycles. A cycle's entries are sorted into batches by venue,
dataset and UTC day; each batch first lands with its verbatim entries (from then on it does not need Redis any more), is
staged, passes the gate, is published, and is acknowledged last. A batch's id follows from its entries. What a dead
worker left is found again in one of two places: batches that have landed are completed from the lake, entries that have
not are still pending in the group. While one cycle is published the next is read.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import repeat
from threading import Lock
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from coinswarm.batches import Batch
from coinswarm.connections import Resolver
from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Rejected
from coinswarm.errors import GateFailed, IntegrityError, UserError
from coinswarm.ingest.book_samples import finished_until, last_of_minutes, passed
from coinswarm.ingest.entries import Reader, Row, Unfit, from_verbatim, verbatim
from coinswarm.ingest.gaps import settle_verdicts
from coinswarm.ingest.retention import oldest_kept
from coinswarm.ingest.streams import Entry, Streams
from coinswarm.ingest.trade_bars import build_bars
from coinswarm.ingest.trimmed import note_missed, note_refused, note_unfit
from coinswarm.storage import database, manifest
from coinswarm.storage.lake import Lake, landing_key
from coinswarm.storage.publish import publish, stored_result
from coinswarm.storage.staging import Refusal, quarantine, stage_lines
from coinswarm.ticks.model import Channel
from coinswarm.timeframes import EPOCH, Window, milliseconds

log = logging.getLogger(__name__)

DAG_ID = "archive_ticks"
# A cycle: large enough that the gate's fixed cost is small beside it, small enough for memory (about 0.7 KB an entry).
ENTRIES_PER_CYCLE = 250_000
LEAST_PER_STREAM = 200
# While the database inserts one batch, another is staged and packed: two keep two processors busy.
PUBLISHERS = 2
UNFINISHED_DAYS = 14
CHANNELS = (Channel.TRADES, Channel.LIQUIDATIONS)


@dataclass(slots=True)
class Archived:
    """What a run did. `batches` were published, `resumed` of them had been begun by a worker that died."""

    batches: int = 0
    resumed: int = 0
    entries: int = 0
    inserted: int = 0
    unchanged: int = 0
    unfit: int = 0
    missed: int = 0
    books: int = 0
    bars: int = 0
    drained: bool = True
    sources: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    refused: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON-safe form, for task results; `published` names datasets and sources that have new rows."""
        names = (
            "batches",
            "resumed",
            "entries",
            "inserted",
            "unchanged",
            "unfit",
            "missed",
            "books",
            "bars",
            "drained",
        )
        published = {dataset: sorted(sources) for dataset, sources in sorted(self.sources.items()) if sources}
        return {**{name: getattr(self, name) for name in names}, "published": published, "refused": self.refused}


@dataclass(slots=True)
class _Group:
    """Entries of one batch in the making."""

    venue: str
    dataset: str
    day: int
    fit: bool
    lines: list[str] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    refusals: list[Rejected] = field(default_factory=list)
    seen: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    count: int = 0

    def add(self, key: str, entry: Entry) -> None:
        """Take an entry in, verbatim."""
        if self.count:
            self.body += b"\n"
        self.body += verbatim(key, entry)
        self.ids[key].append(entry.id)
        self.count += 1

    def refuse(self, key: str, entry: Entry, why: Unfit) -> None:
        """The entry that was added last is no row."""
        payload = {"stream": key, "id": entry.id, "fields": entry.fields}
        self.refusals.append(Rejected(self.count - 1, why.field, why.reason, payload))


@dataclass(frozen=True, slots=True)
class _Landed:
    """A batch whose entries are in the lake; `lines` is None for one that has to be read from there."""

    batch: Batch
    key: str
    lines: list[str] | None = None
    ids: dict[str, list[str]] | None = None
    refusals: Sequence[Rejected] = ()


@database.store_errors()
def archive(
    resolve: Resolver, *, seconds: float = 240.0, now: datetime | None = None, per_cycle: int = ENTRIES_PER_CYCLE
) -> Archived:
    """Archive what is in the streams, for at most about `seconds` (a cycle that was begun is finished).

    Only one archive is at work at a time: another one returns at once with nothing done (`drained` is False).

    Raises:
        GateFailed: batches were refused (their entries are in the lake, their holes in `ops.stream_gaps`); all others
            were archived.
        StoreUnavailable: PostgreSQL, the lake or Redis does not answer; the next run completes what was begun.
    """
    done = Archived()
    with database.connect(resolve("pg_ingest"), autocommit=True) as connection, working_alone(connection) as ours:
        if not ours:
            log.info("another archive is at work")
            done.drained = False
            return done
        streams = Streams(resolve("redis_ticks"))
        try:
            _Worker(resolve, streams, done, now).run(seconds, per_cycle)
        finally:
            streams.close()
    if done.refused:
        raise GateFailed(f"{len(done.refused)} batches of live entries were refused:\n" + "\n".join(done.refused[:10]))
    return done


@contextmanager
def working_alone(connection: database.Session) -> Iterator[bool]:
    """Whether this session is the only one that archives or repairs; it is until the block, or the session, ends."""
    row = connection.execute("SELECT pg_try_advisory_lock(20414, 0)").fetchone()
    ours = row == (True,)
    try:
        yield ours
    finally:
        if ours and not connection.closed and not connection.broken:
            connection.execute("SELECT pg_advisory_unlock(20414, 0)")


@contextmanager
def _lazy_collector() -> Iterator[None]:
    # Entries are lists of texts, and die young: looking for cycles among them takes as long as reading them.
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class _Worker:
    def __init__(self, resolve: Resolver, streams: Streams, done: Archived, now: datetime | None) -> None:
        self._resolve = resolve
        self._streams = streams
        self._lake = Lake(resolve("s3_lake"))
        self._done = done
        self._now = now
        self._readers: dict[str, Reader] = {}
        self._oldest_day = 0
        self._reclaimed = False
        self._gate = Lock()
        self._counting = Lock()

    def run(self, seconds: float, per_cycle: int) -> None:
        deadline = time.monotonic() + seconds
        with (
            _lazy_collector(),
            database.connect(self._resolve("pg_ingest"), autocommit=True) as reading,
            database.connect(self._resolve("pg_ingest"), autocommit=True) as working,
            ThreadPoolExecutor(1, "archive-reader") as ahead,
            ThreadPoolExecutor(PUBLISHERS, "archive-publisher") as publishers,
        ):
            self._oldest_day = (oldest_kept(working, self._now or datetime.now(UTC)) - EPOCH).days
            for begun in _begun(working):
                self._finish(working, begun)
                self._done.resumed += 1
            upcoming = ahead.submit(self._cycle, reading, self._streams.keys(*CHANNELS), per_cycle)
            publishing: list[Future[None]] = []
            more = True
            while more:
                landed, more = upcoming.result()
                more = more and time.monotonic() < deadline
                # Two cycles are in memory at most: the one that is published and the one that is read.
                _wait_for(publishing)
                if more:
                    upcoming = ahead.submit(self._cycle, reading, self._streams.keys(*CHANNELS), per_cycle)
                # The largest first, so that the publishers end at about the same time.
                landed.sort(key=lambda one: -len(one.lines or ()))
                publishing = [publishers.submit(self._finish_alone, one) for one in landed]
            _wait_for(publishing)
            self._done.drained = time.monotonic() < deadline
            self._sample_books(working)
            for source in sorted(self._done.sources["trades"] | _sources_waiting(working)):
                bars = build_bars(source, self._resolve, now=self._now)
                if bars is not None and bars.inserted:
                    self._done.bars += bars.inserted
                    self._done.sources["trade_bars"].add(source)
            settle_verdicts(working)

    # Reading

    def _cycle(self, conn: database.Session, keys: Sequence[str], most: int) -> tuple[list[_Landed], bool]:
        """One cycle's batches, landed, and whether there is more to read."""
        groups: dict[tuple[str, str, int, bool], _Group] = {}
        per_stream = max(most // max(len(keys), 1), LEAST_PER_STREAM)
        count, more = 0, True
        while count < most and more:
            if self._reclaimed:
                taken = self._streams.read(keys, per_stream)
                more = any(len(entries) >= per_stream for entries in taken.entries.values())
            else:
                # First what a dead worker was given.
                taken = self._streams.left_behind(keys, per_stream)
                self._reclaimed = not taken.entries and not taken.missed
            self._done.missed += note_missed(conn, self._streams, taken.missed, taken.entries)
            count += taken.count
            for key, entries in taken.entries.items():
                self._sort(groups, key, entries)
        self._done.entries += count
        return [self._land(conn, group) for group in groups.values()], more

    def _sort(self, groups: dict[tuple[str, str, int, bool], _Group], key: str, entries: Sequence[Entry]) -> None:
        reader = self._readers.get(key) or self._readers.setdefault(key, Reader(key))
        dataset, symbol = reader.dataset.name, reader.symbol
        for entry in entries:
            row = reader.read(entry)
            if isinstance(row, Row) and row.day < self._oldest_day and dataset == "trades":
                row = Unfit(row.venue, row.day, "event_at", "older than what raw keeps")
            place = (row.venue, dataset, row.day, isinstance(row, Row))
            group = groups.get(place) or groups.setdefault(place, _Group(*place))
            if isinstance(row, Row):
                known = group.seen[symbol].setdefault(row.key, len(group.lines))
                if known == len(group.lines):
                    group.lines.append(row.line)
                elif not row.says_the_same(group.lines[known]):
                    row = Unfit(
                        row.venue, row.day, reader.dataset.key[0], "an earlier entry has this key and other values"
                    )
                    place = (row.venue, dataset, row.day, False)
                    group = groups.get(place) or groups.setdefault(place, _Group(*place))
                # Else it was written twice, as may happen when one pump takes over from another.
            group.add(key, entry)
            if isinstance(row, Unfit):
                group.refuse(key, entry, row)

    def _land(self, conn: database.Session, group: _Group) -> _Landed:
        body = bytes(group.body)
        content = hashlib.sha256(body).hexdigest()
        day = EPOCH + timedelta(days=group.day)
        batch = Batch(
            source=group.venue,
            feed=f"{group.dataset}_{'stream' if group.fit else 'unfit'}",
            dataset=group.dataset,
            timeframe="",
            window=Window(day, day + timedelta(days=1)),
            dag_id=DAG_ID,
            run_id=content[:32],
        )
        key = landing_key(batch.source, day, str(batch.batch_id), f"{batch.feed}-{content[:8]}")
        ends = {stream: [ids[0], ids[-1], len(ids)] for stream, ids in sorted(group.ids.items())}
        stored = self._lake.land(key, body)
        with conn.transaction():
            manifest.record(conn, batch, [manifest.Entry(stored, request=json.dumps({"streams": ends}))])
            conn.execute(
                "INSERT INTO ops.batch_steps (batch_id, step, detail) VALUES (%s, 'collected', %s)",
                [batch.batch_id, Jsonb({"batch": batch.to_json(), "landing_key": key})],
            )
        return _Landed(batch, key, group.lines, group.ids, group.refusals)

    def _sample_books(self, conn: database.Session) -> None:
        until = finished_until(milliseconds(self._now or datetime.now(UTC)))
        groups: dict[tuple[str, str, int, bool], _Group] = {}
        keys = [key for key in self._streams.keys(Channel.BOOK) if key.endswith(":snapshot")]
        for key in keys:
            samples = last_of_minutes(self._streams, key, until)
            self._done.books += len(samples)
            self._sort(groups, key, samples)
        for landed in [self._land(conn, group) for group in groups.values()]:
            self._finish(conn, landed)
        for key in keys:
            self._streams.pass_over(key, passed(until))

    # Publishing

    @database.store_errors()
    def _finish_alone(self, landed: _Landed) -> None:
        with database.connect(self._resolve("pg_ingest"), autocommit=True) as connection:
            self._finish(connection, landed)

    def _finish(self, conn: database.Session, landed: _Landed) -> None:
        """Stage, gate, publish and acknowledge a batch that has landed; each step may have been done before."""
        batch = landed.batch
        if landed.lines is None or landed.ids is None:
            landed = self._reread(landed)
        assert landed.lines is not None and landed.ids is not None  # noqa: S101, PT018 - _reread fills both
        if landed.refusals:
            quarantine(conn, batch, [Refusal(one, landed.key, _symbol(one)) for one in landed.refusals])
            note_unfit(conn, batch, landed.refusals)
            with self._counting:
                self._done.unfit += len(landed.refusals)
        if landed.lines and stored_result(conn, batch) is None and not _was_refused(conn, batch):
            try:
                self._publish(conn, landed)
            except (GateFailed, UserError, IntegrityError, psycopg.DataError, psycopg.IntegrityError) as error:
                # It would fail for ever, and keep all others waiting: its entries are in the lake, its hole is noted.
                log.exception("batch %s of %s was refused", batch.batch_id, batch.source)
                conn.execute(_STEP, [batch.batch_id, "refused", Jsonb({"reason": ascii(str(error)[:2_000])})])
                self._done.refused.append(str(error))
        if _was_refused(conn, batch):
            note_refused(conn, batch, landed.lines)
        for key, ids in landed.ids.items():
            self._streams.acknowledge(key, ids)
        conn.execute(_STEP, [batch.batch_id, "acknowledged", Jsonb({})])

    def _publish(self, conn: database.Session, landed: _Landed) -> None:
        from coinswarm.quality.gate import run_gate

        batch = landed.batch
        stage_lines(conn, dataset_named(batch.dataset), batch, zip(landed.lines or (), repeat(landed.key)))
        # Great Expectations keeps its context in a global: one gate at a time.
        with self._gate:
            report = run_gate(self._resolve("pg_ingest"), batch, expected_symbols=())
        if not report.passed:
            raise GateFailed(report.summary())
        published = publish(conn, self._lake, batch)
        with self._counting:
            self._done.batches += 1
            self._done.inserted += published.inserted
            self._done.unchanged += published.unchanged
            if published.inserted:
                self._done.sources[batch.dataset].add(batch.source)

    def _reread(self, landed: _Landed) -> _Landed:
        """A batch as its first worker had it, from its verbatim entries."""
        batch = landed.batch
        group = _Group(batch.source, batch.dataset, 0, batch.feed.endswith("_stream"))
        for line in self._lake.landed(landed.key).split(b"\n"):
            key, entry = from_verbatim(line)
            reader = self._readers.get(key) or self._readers.setdefault(key, Reader(key))
            row = reader.read(entry)
            group.add(key, entry)
            if isinstance(row, Unfit):
                group.refuse(key, entry, row)
            elif not group.fit:
                group.refuse(key, entry, Unfit(row.venue, row.day, "entry", "refused when it was read first"))
            elif group.seen[reader.symbol].setdefault(row.key, len(group.lines)) == len(group.lines):
                group.lines.append(row.line)
        return replace(landed, lines=group.lines, ids=group.ids, refusals=group.refusals)


def _wait_for(publishing: Sequence[Future[None]]) -> None:
    # All of them, before the first error is raised: what was begun is finished.
    wait(publishing)
    for one in publishing:
        one.result()


_STEP = "INSERT INTO ops.batch_steps (batch_id, step, detail) VALUES (%s, %s, %s)"


def _begun(conn: database.Session) -> list[_Landed]:
    rows = conn.execute(
        "SELECT c.detail ->> 'batch', c.detail ->> 'landing_key' FROM ops.batch_steps AS c WHERE c.step = 'collected'"
        " AND c.at > clock_timestamp() - make_interval(days => %s) AND NOT EXISTS (SELECT FROM ops.batch_steps AS a"
        " WHERE a.batch_id = c.batch_id AND a.step = 'acknowledged') ORDER BY c.at",
        [UNFINISHED_DAYS],
    ).fetchall()
    return [_Landed(Batch.from_json(batch), key) for batch, key in dict.fromkeys(rows)]


def _was_refused(conn: database.Session, batch: Batch) -> bool:
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM ops.batch_steps WHERE batch_id = %s AND step = 'refused')", [batch.batch_id]
    ).fetchone()
    return row == (True,)


def _sources_waiting(conn: database.Session) -> set[str]:
    rows = conn.execute(
        "SELECT DISTINCT source FROM ops.batches WHERE dataset = 'trades'"
        " AND known_at > clock_timestamp() - interval '1 day'"
    ).fetchall()
    return {source for (source,) in rows}


def _symbol(refused: Rejected) -> str | None:
    payload = refused.payload
    return Reader(payload["stream"]).symbol if isinstance(payload, dict) else None
