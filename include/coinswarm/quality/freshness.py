"""How old a feed's newest knowledge and newest event are, and whether that is too old.

Both ages count: a feed that repeats old events every quarter of an hour is known freshly and still stale, and the other
way round a provider that is ahead of its clock must not hide that nothing arrives.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from coinswarm.connections import Connection
from coinswarm.datasets import dataset_named
from coinswarm.storage.database import connect

BREACH_PERIODS = 2


class State(StrEnum):
    """State of a feed. `blocked` (the provider refuses this region) and `disabled` (off, no key) are no faults."""

    FRESH = "fresh"
    STALE = "stale"
    BLOCKED = "blocked"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class FeedClock:
    """What freshness needs to know of a feed.

    `cadence` is how often it is asked. `event_limit` is the age at which its newest event is too old; None means
    three cadences: twice the cadence, and once more because a bar's event is its open time. Feeds whose events are
    rarer than the questions (settled funding, daily series) need their own.
    """

    source: str
    feed: str
    dataset: str
    cadence: timedelta
    timeframe: str = ""
    event_limit: timedelta | None = None
    enabled: bool = True
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class Freshness:
    """Freshness of one feed; ages are None if there is nothing yet."""

    source: str
    feed: str
    state: State
    known_age: timedelta | None
    event_age: timedelta | None
    reason: str


def freshness(
    clock: FeedClock, *, now: datetime, newest_known_at: datetime | None, newest_event_at: datetime | None
) -> Freshness:
    """State of a feed at `now`: stale if either age is more than its limit, or if there is nothing at all."""
    known_age = None if newest_known_at is None else now - newest_known_at
    event_age = None if newest_event_at is None else now - newest_event_at
    known_limit = BREACH_PERIODS * clock.cadence
    event_limit = clock.event_limit if clock.event_limit is not None else known_limit + clock.cadence
    if not clock.enabled:
        state, reason = State.DISABLED, "switched off"
    elif clock.blocked:
        state, reason = State.BLOCKED, "the provider refuses to answer from here"
    elif known_age is None:
        state, reason = State.STALE, "nothing was ever published"
    elif known_age > known_limit:
        state, reason = State.STALE, f"nothing published for {known_age}, limit {known_limit}"
    elif event_age is None:
        state, reason = State.STALE, f"no event far beyond the limit of {event_limit}"
    elif event_age > event_limit:
        state, reason = State.STALE, f"the newest event is {event_age} old, limit {event_limit}"
    else:
        state, reason = State.FRESH, ""
    return Freshness(clock.source, clock.feed, state, known_age, event_age, reason)


def read_freshness(
    connection: Connection, clocks: Sequence[FeedClock], *, now: datetime | None = None
) -> list[Freshness]:
    """Freshness of every feed, from the ledger and raw, in the order given.

    Args:
        connection: the warehouse as a role that reads raw and the ledger (`ingest`, `transform`, `auditor`).
        clocks: the feeds.
        now: the moment that ages are taken from; None is the database's clock.
    """
    with connect(connection, autocommit=True) as session:
        moment = now or session.execute("select clock_timestamp()").fetchone()[0]  # type: ignore[index]
        results = []
        for clock in clocks:
            row = session.execute(*_newest(clock, moment)).fetchone()
            known_at, event_at = row if row is not None else (None, None)
            results.append(freshness(clock, now=moment, newest_known_at=known_at, newest_event_at=event_at))
    return results


def stale(found: Iterable[Freshness]) -> list[Freshness]:
    """Those that somebody has to look at."""
    return [one for one in found if one.state is State.STALE]


def _newest(clock: FeedClock, now: datetime) -> tuple[str, dict[str, object]]:
    dataset = dataset_named(clock.dataset)
    same = " and r.timeframe = %(timeframe)s" if clock.timeframe and "timeframe" in dataset.column_names else ""
    # The event is looked for in the recent past only, so that no partition is read in full: how much older a stale feed
    # is does not matter.
    return (
        f"""
        select
            (select max(known_at) from ops.batches where dataset = %(dataset)s and source = %(source)s
                and feed = %(feed)s and known_at <= %(now)s),
            (select max(r.event_at) from raw.{dataset.name} as r where r.source = %(source)s{same}
                and r.known_at <= %(now)s and r.{dataset.partition_by} >= %(since)s)
        """,
        {
            "dataset": dataset.name,
            "source": clock.source,
            "feed": clock.feed,
            "timeframe": clock.timeframe,
            "now": now,
            "since": now - max(10 * clock.cadence, 2 * (clock.event_limit or timedelta(0)), timedelta(days=2)),
        },
    )
