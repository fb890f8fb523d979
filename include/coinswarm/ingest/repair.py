"""Holes in the trades closed again: asked by number or time over REST, published like any batch, and counted."""

from __future__ import annotations

import hashlib
import logging
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from coinswarm.batches import Batch
from coinswarm.connections import Resolver
from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record
from coinswarm.errors import GateFailed, SourceError, UserError
from coinswarm.ingest.archive import working_alone
from coinswarm.ingest.gaps import REQUESTED, Gap, end_abandoned, open_gaps, revise_gap, settle_verdicts
from coinswarm.ingest.retention import oldest_filled
from coinswarm.ingest.trade_bars import build_bars
from coinswarm.ingest.trimmed import NUMBERED
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sources import source_named
from coinswarm.sources.fetch import Fetcher, fetcher
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.spec import Request
from coinswarm.sources.trade_history import Page, Span, TradeHistory, trade_history_of
from coinswarm.storage import database, manifest
from coinswarm.storage.lake import Lake, landing_key
from coinswarm.storage.publish import publish, stored_result
from coinswarm.storage.staging import Incoming, stage
from coinswarm.timeframes import EPOCH, Window

log = logging.getLogger(__name__)

DAG_ID = "repair_gaps"
FEED = "trades_repair"
# A hole that is still open at its end, or was closed a moment ago, is not worth asking for yet.
SETTLE = timedelta(seconds=30)
# By then the archive has brought what the pump did receive, and what is not in raw is missing.
ARCHIVED_WITHIN = timedelta(minutes=15)
# What a venue calls the time of a trade and when we missed it differ by this much.
MARGIN = timedelta(seconds=5)
LEAD = timedelta(minutes=1)
ATTEMPTS = 3
MOST_PAGES = 500
MOST_MISSING = 1_000_000


@dataclass(slots=True)
class Repaired:
    """What a run did: gaps by what became of them, and trades that came back."""

    looked_at: int = 0
    repaired: int = 0
    partly: int = 0
    left: int = 0
    trades: int = 0
    sources: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    errors: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON-safe form, for task results; `published` names datasets and sources that have new rows."""
        names = ("looked_at", "repaired", "partly", "left", "trades")
        published = {dataset: sorted(sources) for dataset, sources in sorted(self.sources.items()) if sources}
        return {**{name: getattr(self, name) for name in names}, "published": published, "errors": self.errors}


@dataclass(slots=True)
class _Found:
    """Trades that came back for one gap, by UTC day, each with when it was received and the object it was in."""

    days: dict[datetime, list[tuple[Record, datetime, str]]] = field(default_factory=lambda: defaultdict(list))
    objects: list[manifest.Entry] = field(default_factory=list)
    numbers: set[int] = field(default_factory=set)
    covered: bool = False
    unfinished: bool = False
    oldest: datetime | None = None
    reason: str = ""

    def proves(self, start: datetime) -> bool:
        """Whether the venue's numbers show that the answers leave out none from a moment on."""
        if not self.numbers or self.oldest is None or self.oldest > start:
            return False
        return max(self.numbers) - min(self.numbers) + 1 == len(self.numbers)


class Unrepairable(Exception):
    """The venue cannot give it again; the message says why."""


@database.store_errors()
def repair(resolve: Resolver, *, seconds: float = 600.0, now: datetime | None = None) -> Repaired:
    """Fetch what open gaps of trades lack, publish it, and close the gaps with counts; oldest first.

    A trade that is in raw already is left as it is. What cannot be fetched again stays open and says why: by number it
    is given up after `ATTEMPTS` incomplete answers, by time after one, as venues go back less far with every minute. A
    venue that does not answer at all is left for the next run and costs the others nothing.

    Raises:
        GateFailed: what came back for gaps was refused; they stay open, and all others were looked at.
        StoreUnavailable: PostgreSQL or the lake does not answer.
    """
    now = now or datetime.now(UTC)
    deadline = time.monotonic() + seconds
    done = Repaired()
    worker = _Repairer(resolve, done, now)
    silent: set[str] = set()
    refused: list[str] = []
    with database.connect(resolve("pg_ingest"), autocommit=True) as connection:
        for one in open_gaps(connection, "trades", since=oldest_filled(connection, now)):
            if time.monotonic() > deadline:
                break
            gap = _ended(connection, one, now)
            if gap.venue in silent or gap.detail.get("final") or not _is_over(gap, now):
                continue
            try:
                worker.repair(connection, gap)
            except Unrepairable as reason:
                done.looked_at += 1
                done.left += 1
                revise_gap(
                    connection, gap, gap.state, repaired=gap.repaired, missing=gap.missing,
                    detail={"unrepairable": str(reason), "final": True},
                )  # fmt: skip
            except GateFailed as error:
                refused.append(str(error))
                attempts = int(gap.detail.get("attempts", 0)) + 1
                detail = {"attempts": attempts, "unrepairable": "the gate refused what came back"}
                revise_gap(
                    connection, gap, gap.state, repaired=gap.repaired, missing=gap.missing,
                    detail={**detail, "final": attempts >= ATTEMPTS},
                )  # fmt: skip
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                # Of this gap; the others are not to wait for it.
                log.exception("gap %s of %s cannot be repaired", gap.gap_id, gap.venue)
                done.errors.append(f"{gap.venue} {gap.symbol} {gap.opened_at:%Y-%m-%d %H:%M:%S}: {str(error)[:300]}")
            except SourceError as error:
                log.warning("%s does not give its trades now: %s", gap.venue, error)
                silent.add(gap.venue)
                done.errors.append(str(error)[:300])
        worker.build_bars(connection)
        end_abandoned(connection)
        settle_verdicts(connection)
    if refused:
        raise GateFailed(f"what came back for {len(refused)} gaps was refused:\n" + "\n".join(refused[:10]))
    return done


class _Repairer:
    def __init__(self, resolve: Resolver, done: Repaired, now: datetime) -> None:
        self._resolve = resolve
        self._done = done
        self._now = now
        self._lake = Lake(resolve("s3_lake"))
        self._fetchers: dict[str, Fetcher] = {}
        self._asked_at: dict[str, float] = {}

    def repair(self, conn: database.Session, gap: Gap) -> None:
        """Close one gap as far as its venue allows; one that cannot be judged yet waits."""
        try:
            instrument = INSTRUMENTS.get(gap.venue, gap.symbol)
        except UserError:
            raise Unrepairable("the instrument is not in the registry") from None
        history = trade_history_of(instrument)
        if history is None:
            raise Unrepairable(f"{gap.venue} gives no past trades of its {instrument.market} market")
        if history.reach is not None and gap.opened_at < self._now - history.reach:
            raise Unrepairable(f"{gap.venue} goes back {history.reach} only")
        span = _span_of(conn, gap, history, instrument)
        wanted = None if span.first is None or span.last is None else _missing(conn, gap, span)
        found = _Found(covered=True)
        if wanted is None and gap.reason != REQUESTED and not _is_archived(conn, gap, self._now):
            return
        if wanted is None or wanted:
            found = self._fetch(conn, gap, instrument, history, span, wanted)
        self._done.looked_at += 1
        back = self._publish(conn, gap, found)
        self._conclude(conn, gap, span, wanted, found, back)

    def build_bars(self, conn: database.Session) -> None:
        """Revise the bars of what came back, unless the archive is at work: then it does that."""
        sources = self._done.sources["trades"]
        if not sources:
            return
        with working_alone(conn) as ours:
            for source in sorted(sources) if ours else ():
                bars = build_bars(source, self._resolve)
                if bars is not None and bars.inserted:
                    self._done.sources["trade_bars"].add(source)

    def _fetch(
        self,
        conn: database.Session,
        gap: Gap,
        instrument: Instrument,
        history: TradeHistory,
        span: Span,
        wanted: set[int] | None,
    ) -> _Found:
        found = _Found()
        spec = source_named(gap.venue)
        fetch = self._fetchers.get(gap.venue)
        if fetch is None:
            fetch = self._fetchers[gap.venue] = fetcher(spec, self._resolve(spec.connection_id))
        known = set() if wanted is not None else _known_ids(conn, gap, span)
        if wanted:
            # What came back in an earlier run is not asked for again.
            span = replace(span, first=min(wanted), last=max(wanted))
        # The lead of what was requested only shows that nothing is missing at its start.
        start = gap.opened_at if gap.reason == REQUESTED else span.start
        oldest = self._now
        page: Page | None = None
        for _ in range(MOST_PAGES):
            request = history.following(instrument, span, page)
            if request is None:
                break
            self._pace(gap.venue, history.seconds)
            answer = fetch.get(request)
            asked = request.received(answer.received_at)
            key = self._land(gap, asked, answer.body, found)
            outcomes = parse_payload(history.parse, answer.body, asked)
            page = Page(request, tuple(record for record in outcomes if isinstance(record, Record)))
            for record in page.records:
                oldest = min(oldest, record.event_at)
                number = history.number(record)
                if number is not None:
                    found.numbers.add(number)
                if wanted is not None:
                    if number not in wanted:
                        continue
                elif record.values["trade_id"] in known or not start <= record.event_at < span.end:
                    continue
                day = EPOCH + (record.event_at - EPOCH) // timedelta(days=1) * timedelta(days=1)
                found.days[day].append((record, answer.received_at, key))
        else:
            found.unfinished = history.following(instrument, span, page) is not None
        if page is None:
            raise Unrepairable(f"{gap.venue} gives single trades by their numbers only, and they are not known")
        # Without numbers the answer has to reach back beyond the hole, or it may have begun in its middle.
        reached = gap.opened_at if gap.reason == REQUESTED else span.start + MARGIN
        found.oldest = oldest
        # One without any trade says nothing of how far it went.
        from_start = history.from_start and oldest < self._now
        found.covered = not found.unfinished and (wanted is not None or from_start or oldest <= reached)
        if found.unfinished:
            found.reason = f"these are more than {MOST_PAGES} pages"
        elif not found.covered:
            found.reason = f"{gap.venue} goes back to {oldest:%Y-%m-%d %H:%M:%S} only"
        return found

    def _pace(self, venue: str, seconds: float) -> None:
        if self._resolve(source_named(venue).connection_id).extra.get("requests_per_second"):
            return  # the connection's own budget is kept by the client
        wait = self._asked_at.get(venue, 0.0) + seconds - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._asked_at[venue] = time.monotonic()

    def _land(self, gap: Gap, asked: Request, body: bytes, found: _Found) -> str:
        name = hashlib.sha256(asked.to_json().encode() + body).hexdigest()[:24]
        key = landing_key(gap.venue, gap.opened_at, str(gap.gap_id), f"{FEED}-{name}")
        stored = self._lake.land(key, body, request=asked.to_json())
        found.objects.append(manifest.Entry(stored, request=asked.to_json()))
        return key

    def _publish(self, conn: database.Session, gap: Gap, found: _Found) -> int:
        """Publish what came back, a batch a day; how many trades are new in raw."""
        from coinswarm.quality.gate import run_gate

        back = 0
        if found.objects and not found.days:
            # Nothing came back; what was answered is kept all the same.
            day = EPOCH + (gap.opened_at - EPOCH) // timedelta(days=1) * timedelta(days=1)
            manifest.record(conn, _batch(gap, day, found.objects[0].stored.key), found.objects)
        for day, rows in sorted(found.days.items()):
            unique = {str(record.values["trade_id"]): (record, at, key) for record, at, key in rows}
            batch = _batch(gap, day, "\n".join(sorted(unique)))
            if stored_result(conn, batch) is None:
                if day == min(found.days):
                    # An object belongs to one batch; that of another day refers to it by its rows.
                    manifest.record(conn, batch, found.objects)
                stage(conn, dataset_named("trades"), batch, (Incoming(*row) for row in unique.values()))
                report = run_gate(self._resolve("pg_ingest"), batch, expected_symbols=())
                if not report.passed:
                    raise GateFailed(report.summary())
            published = publish(conn, self._lake, batch)
            back += published.inserted - published.revised
            if published.inserted:
                self._done.sources["trades"].add(gap.venue)
        self._done.trades += back
        return back

    def _conclude(
        self, conn: database.Session, gap: Gap, span: Span, wanted: set[int] | None, found: _Found, back: int
    ) -> None:
        if wanted is not None:
            left, total = len(_missing(conn, gap, span)), _width(span)
            complete, repaired = left == 0, total - left
            missing: int | None = total if gap.missing is None else gap.missing
        elif (counted := _back_by_count(conn, gap)) is not None:
            complete, repaired, missing = counted == gap.missing, counted, gap.missing
        else:
            complete, repaired = found.covered, gap.repaired + back
            missing = gap.missing if gap.missing is not None else (repaired if complete else None)
        detail: dict[str, Any] = {"pages": len(found.objects)}
        if not complete:
            # Of a hole of many pages each run fetches some.
            attempts = int(gap.detail.get("attempts", 0)) + (not (found.unfinished and back))
            detail["attempts"] = attempts
            detail["unrepairable"] = found.reason or f"{gap.venue} does not have them"
            # By time a venue goes back less far with every minute.
            detail["final"] = wanted is None or attempts >= ATTEMPTS
        state = "repaired" if complete else "partly_repaired" if repaired else "open"
        setattr(self._done, name := {"repaired": "repaired", "partly_repaired": "partly", "open": "left"}[state],
                getattr(self._done, name) + 1)  # fmt: skip
        if missing is not None:
            repaired = min(repaired, missing)
        proven = found.proves(gap.opened_at) if gap.reason == REQUESTED else gap.missing is not None
        if complete:
            detail["proven"] = proven
        revise_gap(conn, gap, state, repaired=repaired, missing=missing, detail=detail, proven=proven)


def _batch(gap: Gap, day: datetime, content: str) -> Batch:
    digest = hashlib.sha256(content.encode()).hexdigest()
    return Batch(
        source=gap.venue,
        feed=FEED,
        dataset="trades",
        timeframe="",
        window=Window(day, day + timedelta(days=1)),
        dag_id=DAG_ID,
        run_id=f"{gap.gap_id}-{gap.revision}-{digest[:16]}",
        symbols=(gap.symbol,),
    )


def _ended(conn: database.Session, gap: Gap, now: datetime) -> Gap:
    """The gap, with its end: whoever opened it may have died before it knew that the stream went on."""
    if gap.closed_at is not None or gap.opened_at + ARCHIVED_WITHIN > now:
        return gap
    row = conn.execute(
        "SELECT min(event_at) FROM raw.trades WHERE source = %s AND symbol = %s AND event_at > %s",
        [gap.venue, gap.symbol, gap.opened_at + MARGIN],
    ).fetchone()
    return replace(gap, closed_at=row[0]) if row else gap


def _is_over(gap: Gap, now: datetime) -> bool:
    # Of what was requested the archive may bring some as well, which does no harm.
    return gap.reason == REQUESTED or (gap.closed_at or now) + SETTLE <= now


def _is_archived(conn: database.Session, gap: Gap, now: datetime) -> bool:
    end = gap.closed_at or gap.opened_at
    row = conn.execute(
        "SELECT EXISTS (SELECT FROM raw.trades WHERE source = %s AND symbol = %s AND event_at > %s)",
        [gap.venue, gap.symbol, end + MARGIN],
    ).fetchone()
    return row == (True,) or end + ARCHIVED_WITHIN < now


def _width(span: Span) -> int:
    assert span.first is not None and span.last is not None  # noqa: S101, PT018 - asked for numbered spans only
    return span.last - span.first + 1


def _span_of(conn: database.Session, gap: Gap, history: TradeHistory, instrument: Instrument) -> Span:
    """What to ask for; limits that the gap does not know are those of the trades around it."""
    if gap.reason == REQUESTED:
        # By time, as trades around it may be hours away; a few from before it show that none is missing at its start.
        return Span(gap.opened_at - LEAD, gap.closed_at or gap.opened_at)
    begin, until = _around(conn, gap)
    start, end = begin - MARGIN, until + MARGIN
    first, last = _number(gap.first_missing), _number(gap.last_missing)
    if (gap.venue, instrument.market) in _UNNUMBERED or not _numbered(history):
        return Span(start, end)
    before, after = _neighbours(conn, gap)
    first = before + 1 if first is None and before is not None else first
    last = after - 1 if last is None and after is not None else last
    if first is None or last is None:
        return Span(start, end)
    if last < first - 1:
        raise Unrepairable(f"the numbers around it contradict each other: {first} follows, {last} came before")
    if last - first >= MOST_MISSING:
        raise Unrepairable(f"{last - first + 1} trades are more than a repair asks for")
    return Span(start, end, first, last)


# Numbers of the live feed that its history does not know.
_UNNUMBERED = {("kraken", "futures")}


def _numbered(history: TradeHistory) -> bool:
    return history.number is not TradeHistory.__dataclass_fields__["number"].default


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


# A trade's number: beside its id, or the id itself.
_NUMBER = "coalesce(sequence, CASE WHEN trade_id ~ '^[0-9]{1,18}$' THEN trade_id::bigint END)"


def _neighbours(conn: database.Session, gap: Gap) -> tuple[int | None, int | None]:
    """Numbers of the last trade before a gap and of the first one after it, as raw has them."""
    row = conn.execute(
        f"SELECT (SELECT max({_NUMBER}) FROM raw.trades WHERE source = %(venue)s AND symbol = %(symbol)s"
        "   AND event_at <= %(start)s AND event_at > %(start)s - interval '6 hours'),"
        f" (SELECT min({_NUMBER}) FROM raw.trades WHERE source = %(venue)s AND symbol = %(symbol)s"
        "   AND event_at >= %(end)s AND event_at < %(end)s + interval '6 hours')",
        {"venue": gap.venue, "symbol": gap.symbol, "start": gap.opened_at, "end": gap.closed_at or gap.opened_at},
    ).fetchone()
    return row if row else (None, None)


def _around(conn: database.Session, gap: Gap) -> tuple[datetime, datetime]:
    """When a gap began and ended by the venue's clock: with the trades around its numbers, if these are known.

    The gap's own times are ours where a connection was lost, and what had come late until then was traded before.
    """
    begin, until = gap.opened_at, gap.closed_at or gap.opened_at
    first, last = _number(gap.first_missing), _number(gap.last_missing)
    if gap.venue not in NUMBERED or first is None or last is None:
        return begin, until
    row = conn.execute(
        f"SELECT max(event_at) FILTER (WHERE {_NUMBER} < %(first)s), min(event_at) FILTER (WHERE {_NUMBER} > %(last)s)"
        " FROM raw.trades WHERE source = %(venue)s AND symbol = %(symbol)s"
        " AND event_at > %(begin)s - interval '1 hour' AND event_at < %(until)s + interval '1 hour'",
        {"venue": gap.venue, "symbol": gap.symbol, "begin": begin, "until": until, "first": first, "last": last},
    ).fetchone()
    before, after = row or (None, None)
    return min(begin, before or begin), max(until, after or until)


def _back_by_count(conn: database.Session, gap: Gap) -> int | None:
    """How many of a gap's trades raw has, where only the live feed numbers them; None if nobody counted them.

    What came back by time has no number: it counts if it lies between the trades around the gap.
    """
    first, last = _number(gap.first_missing), _number(gap.last_missing)
    if gap.venue not in NUMBERED or first is None or last is None or gap.missing is None:
        return None
    begin, until = _around(conn, gap)
    row = conn.execute(
        "SELECT count(DISTINCT trade_id) FROM raw.trades WHERE source = %s AND symbol = %s"
        f" AND event_at BETWEEN %s AND %s AND coalesce({_NUMBER} BETWEEN %s AND %s, true)",
        [gap.venue, gap.symbol, begin, until, first, last],
    ).fetchone()
    return min(row[0] if row else 0, gap.missing)


def _missing(conn: database.Session, gap: Gap, span: Span) -> set[int]:
    """Numbers of the span that raw does not have."""
    rows = conn.execute(
        f"SELECT DISTINCT {_NUMBER} FROM raw.trades WHERE source = %s AND symbol = %s AND event_at >= %s"
        f" AND event_at < %s AND {_NUMBER} BETWEEN %s AND %s",
        # Where a number belongs in time is known about only.
        [gap.venue, gap.symbol, span.start - timedelta(hours=1), span.end + timedelta(hours=1), span.first, span.last],
    ).fetchall()
    assert span.first is not None and span.last is not None  # noqa: S101, PT018 - asked for numbered spans only
    return set(range(span.first, span.last + 1)) - {number for (number,) in rows}


def _known_ids(conn: database.Session, gap: Gap, span: Span) -> set[str]:
    rows = conn.execute(
        "SELECT DISTINCT trade_id FROM raw.trades WHERE source = %s AND symbol = %s"
        " AND event_at >= %s AND event_at < %s",
        [gap.venue, gap.symbol, span.start, span.end],
    ).fetchall()
    return {trade_id for (trade_id,) in rows}
