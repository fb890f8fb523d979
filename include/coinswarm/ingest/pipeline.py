"""The four steps of a batch: land, load, validate, publish. Each may be killed and run again."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from psycopg.types.json import Jsonb

from coinswarm.batches import Batch
from coinswarm.connections import Resolver
from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import ContractViolation, GateFailed
from coinswarm.ingest.plan import batch_of, expected_symbols, feed_named, requests_of
from coinswarm.sources import source_named
from coinswarm.sources.fetch import fetcher
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.spec import Feed, Mode, Request, SourceSpec
from coinswarm.storage import database, manifest
from coinswarm.storage.lake import Lake, landing_key
from coinswarm.storage.publish import Published, stored_result
from coinswarm.storage.publish import publish as publish_rows
from coinswarm.storage.staging import Incoming, Refusal, quarantine, stage
from coinswarm.timeframes import Window

log = logging.getLogger(__name__)

# A venue finalises a bar a moment after its close; asking earlier gets an open bar.
SETTLE = timedelta(seconds=5)


class NothingToAsk(Exception):
    """The feed cannot be asked for this window; the message says why."""


@dataclass(frozen=True, slots=True)
class Landed:
    """How many answers of a batch are in the lake."""

    objects: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a batch's rows: staged, quarantined, still open at the provider, or not for us."""

    staged: int
    quarantined: int
    open: int
    dropped: int


@database.store_errors()
def next_batch(
    source: str,
    feed: str,
    window: Window,
    *,
    dag_id: str,
    run_id: str,
    resolve: Resolver,
    symbols: Iterable[str] = (),
) -> Batch:
    """The batch that a run works on: its unfinished one, or a new one if the last was published or refused.

    So a retry completes what was begun, and clearing a finished or refused run asks the provider again.
    """
    spec = source_named(source)
    first = batch_of(spec, feed_named(spec, feed), window, dag_id=dag_id, run_id=run_id, symbols=symbols)
    with database.connect(resolve("pg_ingest")) as connection:
        return next(
            batch
            for batch in _attempts(first)
            if stored_result(connection, batch) is None and not _was_refused(connection, batch)
        )


def resumed(connection: database.Session, first: Batch) -> tuple[Batch, bool]:
    """The batch with which a run goes on from `first`, and whether it is published; a refused one is asked for anew."""
    for batch in _attempts(first):
        done = stored_result(connection, batch) is not None
        if done or not _was_refused(connection, batch):
            return batch, done
    raise AssertionError("attempts never end")


@database.store_errors()
def land(batch: Batch, resolve: Resolver, *, now: datetime | None = None) -> Landed:
    """Fetch every request of the batch and keep the verbatim bytes; what has landed already is not asked again.

    A request that the provider refuses (a delisted instrument) is named in quarantine and costs the others nothing.

    Raises:
        NothingToAsk: the source is off, or the provider cannot answer for this window.
        SourceError: as the provider's answer demands; what landed before stays.
        StoreUnavailable: PostgreSQL or the lake does not answer.
    """
    spec = source_named(batch.source)
    feed = feed_named(spec, batch.feed)
    provider = resolve(spec.connection_id)
    if spec.key_required and not provider.password:
        raise NothingToAsk(f"{spec.slug} is off: connection {spec.connection_id} has no key")
    window = _askable(spec, feed, batch.window, now or datetime.now(UTC))
    _wait_until_settled(window)
    lake = Lake(resolve("s3_lake"))
    with database.connect(resolve("pg_ingest"), autocommit=True) as connection:
        landed = {_request_key(request) for _, request in _landed(connection, batch)}
        fetch = fetcher(spec, provider)
        refused: list[tuple[int, Request, ContractViolation]] = []
        for number, request in enumerate(map(fetch.prepare, requests_of(spec, feed, window, batch.symbols))):
            if _request_key(request) in landed:
                continue
            try:
                fetched = fetch.get(request)
            except ContractViolation as error:
                refused.append((number, request, error))
                continue
            answered = request.received(fetched.received_at).to_json()
            stored = lake.land(_landing_key(batch, request, fetched.body), fetched.body, request=answered)
            manifest.record(connection, batch, [manifest.Entry(stored, request=answered)])
            log.info("landed %s bytes of %s %s %s", len(fetched.body), spec.slug, feed.name, request.symbol)
        objects = len(_landed(connection, batch))
        if refused and not objects:
            _refuse(connection, batch, refused[0][2])
            raise refused[0][2]
        quarantine(
            connection,
            batch,
            [
                Refusal(Rejected(number, "response", f"{request.symbol}: {error}".lstrip(": ")), None, request.symbol)
                for number, request, error in refused
            ],
        )
        return Landed(objects)


@database.store_errors()
def load(batch: Batch, resolve: Resolver) -> Loaded:
    """Parse every landed object of the batch into `staging`; what was staged before is replaced.

    A body that is unusable as a whole is named in quarantine; its bytes stay in the lake, the other bodies go on.

    Raises:
        ContractViolation: every body is unusable.
        StoreUnavailable: PostgreSQL or the lake does not answer.
    """
    spec = source_named(batch.source)
    feed = feed_named(spec, batch.feed)
    lake = Lake(resolve("s3_lake"))
    counts = dict.fromkeys(("open", "dropped"), 0)
    refused: list[Refusal] = []

    def incoming(objects: list[tuple[str, Request]]) -> Iterator[Incoming]:
        unusable: list[ContractViolation] = []
        for key, request in objects:
            assert request.received_at is not None  # noqa: S101 - land() always sets it
            try:
                # As a whole, so that a body that breaks off in the middle leaves none of its rows.
                outcomes = list(parse_payload(feed.parse, lake.landed(key), request))
            except ContractViolation as error:
                unusable.append(error)
                refused.append(Refusal(Rejected(0, "body", str(error)), key, request.symbol))
                if len(unusable) == len(objects):
                    raise unusable[0] from None
                continue
            for outcome in outcomes:
                if isinstance(outcome, Rejected):
                    refused.append(Refusal(outcome, key, request.symbol))
                elif not outcome.final:
                    counts["open"] += 1
                elif not _wanted(feed, outcome, batch.window):
                    counts["dropped"] += 1
                else:
                    yield Incoming(outcome, request.received_at, key)

    with database.connect(resolve("pg_ingest"), autocommit=True) as connection:
        try:
            staged = stage(connection, dataset_named(batch.dataset), batch, incoming(_landed(connection, batch)))
        except ContractViolation as error:
            quarantine(connection, batch, refused)
            _refuse(connection, batch, error)
            raise
        quarantine(connection, batch, refused)
    return Loaded(staged, len(refused), counts["open"], counts["dropped"])


@database.store_errors()
def validate(batch: Batch, resolve: Resolver) -> dict[str, Any]:
    """Run the quality gate on the staged batch.

    Raises:
        GateFailed: with the readable summary; nothing will be published.
    """
    from coinswarm.quality.gate import run_gate

    spec = source_named(batch.source)
    feed = feed_named(spec, batch.feed)
    expected = expected_symbols(spec, feed, batch.window, batch.symbols)
    report = run_gate(resolve("pg_ingest"), batch, expected_symbols=expected)
    if not report.passed:
        with database.connect(resolve("pg_ingest"), autocommit=True) as connection:
            _refuse(connection, batch, report.summary())
        raise GateFailed(report.summary())
    return {"score": str(report.score), "warnings": len(report.warnings), "quarantined": report.quarantined}


@database.store_errors()
def publish(batch: Batch, resolve: Resolver) -> dict[str, Any]:
    """Publish the staged batch and return its ledger entry, JSON-safe; a published batch returns the same again."""
    with database.connect(resolve("pg_ingest")) as connection:
        published = publish_rows(connection, Lake(resolve("s3_lake")), batch)
    return _summary(published)


def run(batch: Batch, resolve: Resolver) -> dict[str, Any]:
    """All four steps, for backfills and tests."""
    land(batch, resolve)
    load(batch, resolve)
    validate(batch, resolve)
    return publish(batch, resolve)


def _askable(spec: SourceSpec, feed: Feed, window: Window, now: datetime) -> Window:
    if feed.mode is Mode.NOW and window.end < now - 2 * feed.cadence.period:
        raise NothingToAsk(f"{spec.slug} {feed.name} only tells the present state, not that of {window.end:%F %H:%M}")
    if feed.history is not None and window.end <= now - feed.history:
        raise NothingToAsk(f"{spec.slug} {feed.name} goes back {feed.history}, not to {window.end:%F %H:%M}")
    if window.start >= now:
        raise NothingToAsk(f"{window.start:%F %H:%M} has not come yet")
    return window


def _wait_until_settled(window: Window) -> None:
    remaining = (window.end + SETTLE - datetime.now(UTC)).total_seconds()
    if 0 < remaining <= SETTLE.total_seconds():
        time.sleep(remaining)


def _wanted(feed: Feed, record: Record, window: Window) -> bool:
    if feed.keep is not None and not feed.keep(record):
        return False
    # Pages overlap and some providers answer with more than was asked: a batch holds its own interval only.
    return feed.mode is Mode.NOW or not feed.kinds or window.start <= record.event_at < window.end


def _landed(connection: database.Session, batch: Batch) -> list[tuple[str, Request]]:
    return [(key, Request.from_json(text)) for key, text in manifest.landed_objects(connection, batch) if text]


def _attempts(first: Batch) -> Iterator[Batch]:
    yield first
    for generation in count(2):
        yield replace(first, run_id=f"{first.run_id}#{generation}")


def _refuse(connection: database.Session, batch: Batch, reason: object) -> None:
    connection.execute(
        "INSERT INTO ops.batch_steps (batch_id, step, detail) VALUES (%s, 'refused', %s)",
        # A provider's words may hold what PostgreSQL has no place for.
        [batch.batch_id, Jsonb({"reason": ascii(str(reason)[:2_000])})],
    )


def _was_refused(connection: database.Session, batch: Batch) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM ops.batch_steps WHERE batch_id = %s AND step = 'refused')", [batch.batch_id]
    ).fetchone()
    return row == (True,)


def _landing_key(batch: Batch, request: Request, body: bytes) -> str:
    # The content is part of the name: an attempt that died before its entry in the manifest may leave other bytes.
    content = hashlib.sha256(body).hexdigest()[:8]
    name = f"{batch.feed}-{_request_key(request)}-{content}"
    return landing_key(batch.source, batch.window.start, str(batch.batch_id), name)


def _request_key(request: Request) -> str:
    return hashlib.sha256(replace(request, received_at=None).to_json().encode()).hexdigest()[:16]


def _summary(published: Published) -> dict[str, Any]:
    return {
        "batch_id": str(published.batch_id),
        "known_at": published.known_at.isoformat(),
        "staged": published.staged,
        "inserted": published.inserted,
        "revised": published.revised,
        "unchanged": published.unchanged,
    }
