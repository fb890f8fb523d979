"""`ops.stream_gaps` and `ops.stream_verdicts` as archive and repair write them: rows that revise, never change."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from psycopg.types.json import Jsonb

from coinswarm.storage.database import Session

REQUESTED = "requested"
"""Reason of a gap that somebody asked to have filled: nothing is known to be missing there."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A hole as it is known now. `missing` is None where nobody can tell how many."""

    gap_id: UUID
    revision: int
    venue: str
    symbol: str
    channel: str
    state: str
    reason: str
    opened_at: datetime
    closed_at: datetime | None
    first_missing: str | None
    last_missing: str | None
    missing: int | None
    repaired: int
    detail: dict[str, Any] = field(default_factory=dict)


def gap_id_of(*parts: str) -> UUID:
    """Id of a gap by what it is about, so that it is found once however often it is looked for."""
    return uuid5(NAMESPACE_URL, "\x1f".join(("stream_gap", *parts)))


def open_gap(conn: Session, gap: Gap) -> bool:
    """Note a gap and mark the minutes that it touches as suspect, unless it was only asked for.

    Returns:
        False if it is known already.
    """
    with conn.transaction():
        opened = conn.execute(
            "INSERT INTO ops.stream_gaps (gap_id, revision, venue, symbol, channel, state, reason, opened_at,"
            " closed_at, first_missing, last_missing, missing_count, detail)"
            " VALUES (%s, 1, %s, %s, %s, 'open', %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            [
                gap.gap_id,
                gap.venue,
                gap.symbol,
                gap.channel,
                gap.reason,
                gap.opened_at,
                gap.closed_at,
                gap.first_missing,
                gap.last_missing,
                gap.missing,
                Jsonb(gap.detail),
            ],
        ).rowcount
        if opened and gap.reason != REQUESTED:
            conn.execute(_SUSPECT, _place(gap))
    return bool(opened)


def open_gaps(conn: Session, channel: str, *, since: datetime) -> list[Gap]:
    """Gaps of a channel that began after `since` and are not closed yet, oldest first."""
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM ops.stream_gaps_current"
        " WHERE channel = %s AND state <> 'repaired' AND opened_at >= %s ORDER BY opened_at, gap_id",
        [channel, since],
    ).fetchall()
    return [Gap(*row) for row in rows]


def revise_gap(
    conn: Session,
    gap: Gap,
    state: str,
    *,
    repaired: int,
    missing: int | None,
    detail: dict[str, Any],
    proven: bool = False,
) -> bool:
    """Append what became of a gap, unless that is what is known.

    Once it is repaired, its minutes have a verdict again if no other gap touches them, and whole minutes that nobody
    watched get one: `verified` if numbers have `proven` that nothing is missing, else `clean`.

    Returns:
        Whether there was something new to say.
    """
    if (state, repaired, missing) == (gap.state, gap.repaired, gap.missing) and detail.items() <= gap.detail.items():
        return False
    with conn.transaction():
        added = conn.execute(
            "INSERT INTO ops.stream_gaps (gap_id, revision, venue, symbol, channel, state, reason, opened_at,"
            " closed_at, first_missing, last_missing, missing_count, repaired_count, session_id, detail)"
            " SELECT gap_id, revision + 1, venue, symbol, channel, %(state)s, reason, opened_at, %(closed)s,"
            " first_missing, last_missing, %(missing)s, %(repaired)s, session_id, detail || %(detail)s"
            " FROM ops.stream_gaps WHERE gap_id = %(gap)s AND revision = %(revision)s ON CONFLICT DO NOTHING",
            {
                "state": state,
                "closed": gap.closed_at,
                "missing": missing,
                "repaired": repaired,
                "detail": Jsonb(detail),
                "gap": gap.gap_id,
                "revision": gap.revision,
            },
        ).rowcount
        if added and state == "repaired":
            judged = _place(gap) | {"proven": proven}
            conn.execute(_RESTORED, judged)
            conn.execute(_JUDGED, judged)
    return bool(added)


def settle_verdicts(conn: Session) -> None:
    """Hold verdicts against the gaps of the last hour again: the pump may have given some after the gap was noted.

    Its own gaps it knows itself; these are those of the archive, and those that were repaired.
    """
    # What was recorded of a gap lately holds its newest revision.
    rows = conn.execute(
        f"SELECT {_COLUMNS} FROM (SELECT DISTINCT ON (gap_id) * FROM ops.stream_gaps"
        " WHERE recorded_at > clock_timestamp() - interval '1 hour' ORDER BY gap_id, revision DESC) AS lately"
        " WHERE reason <> 'requested'"
        " AND (state = 'repaired' AND detail ? 'pages' OR state <> 'repaired' AND session_id IS NULL)"
    ).fetchall()
    for gap in (Gap(*row) for row in rows):
        repaired = gap.state == "repaired"
        proven = {"proven": gap.detail.get("proven", False)} if repaired else {}
        conn.execute(_RESTORED if repaired else _SUSPECT, _place(gap) | proven)


def end_abandoned(conn: Session) -> int:
    """Note the end of holes whose pump died before it saw one; they stay open, as nobody gives them again.

    It is the first whole minute since then that another session watched. Trades have a better one: `repair`.

    Returns:
        How many there were.
    """
    return conn.execute(_ENDED).rowcount


# As in `Gap`.
_COLUMNS = (
    "gap_id, revision, venue, symbol, channel, state, reason, opened_at, closed_at, first_missing, last_missing,"
    " missing_count, repaired_count, detail"
)


def _place(gap: Gap) -> dict[str, Any]:
    return {
        "venue": gap.venue,
        "symbol": gap.symbol,
        "channel": gap.channel,
        "start": gap.opened_at,
        "end": gap.closed_at or gap.opened_at,
        "gap": gap.gap_id,
    }


_ENDED = """
    INSERT INTO ops.stream_gaps (gap_id, revision, venue, symbol, channel, state, reason, opened_at, closed_at,
        first_missing, last_missing, missing_count, repaired_count, session_id, detail)
    SELECT gap_id, revision + 1, venue, symbol, channel, state, reason, opened_at, watched.minute,
        first_missing, last_missing, missing_count, repaired_count, session_id, detail || '{"abandoned": true}'
    FROM ops.stream_gaps_current AS gap
    CROSS JOIN LATERAL (
        SELECT min(minute) AS minute FROM ops.stream_verdicts_current AS verdict
        WHERE verdict.venue = gap.venue AND verdict.symbol = gap.symbol AND verdict.channel = gap.channel
            AND verdict.minute >= gap.opened_at AND verdict.verdict IN ('verified', 'clean')
            AND verdict.session_id <> gap.session_id
    ) AS watched
    WHERE channel <> 'trades' AND closed_at IS NULL AND watched.minute IS NOT NULL
    ON CONFLICT DO NOTHING
"""
_MINUTES = """
    FROM ops.stream_verdicts_current AS known
    WHERE venue = %(venue)s AND symbol = %(symbol)s AND channel = %(channel)s
        AND minute BETWEEN date_trunc('minute', %(start)s::timestamptz, 'UTC') AND %(end)s
"""
_SUSPECT = f"""
    INSERT INTO ops.stream_verdicts (venue, symbol, channel, minute, verdict, events, gaps, detail, session_id)
    SELECT venue, symbol, channel, minute, 'suspect', events, gaps + 1,
        detail || jsonb_build_object('gap', %(gap)s::text, 'before', verdict), session_id
    {_MINUTES} AND verdict IN ('verified', 'clean')
"""
# A minute that the pump did not watch whole, because it began in it, stays doubtful.
_RESTORED = f"""
    INSERT INTO ops.stream_verdicts (venue, symbol, channel, minute, verdict, events, gaps, detail, session_id)
    SELECT venue, symbol, channel, minute, CASE WHEN %(proven)s THEN 'verified' ELSE 'clean' END,
        events, 0, detail || jsonb_build_object('repaired', %(gap)s::text), session_id
    {_MINUTES} AND verdict IN ('suspect', 'missing')
        AND NOT coalesce(detail -> 'troubles' ? 'partial', false)
        AND NOT EXISTS (
            SELECT FROM ops.stream_gaps_current AS other
            WHERE other.venue = known.venue AND other.symbol = known.symbol AND other.channel = known.channel
                AND other.reason <> 'requested' AND other.state <> 'repaired'
                AND other.opened_at < known.minute + interval '1 minute'
                AND coalesce(other.closed_at, 'infinity') >= known.minute
        )
"""
_JUDGED = """
    INSERT INTO ops.stream_verdicts (venue, symbol, channel, minute, verdict, events, detail)
    SELECT %(venue)s, %(symbol)s, %(channel)s, minute, CASE WHEN %(proven)s THEN 'verified' ELSE 'clean' END,
        (SELECT count(DISTINCT trade_id) FROM raw.trades
            WHERE source = %(venue)s AND symbol = %(symbol)s AND event_at >= minute
                AND event_at < minute + interval '1 minute'),
        jsonb_build_object('repaired', %(gap)s::text)
    FROM generate_series(
        date_bin('1 minute', %(start)s + interval '1 minute' - interval '1 microsecond', '2000-01-01 00:00+00'),
        %(end)s - interval '1 minute', interval '1 minute'
    ) AS minutes (minute)
    WHERE NOT EXISTS (
        SELECT FROM ops.stream_verdicts_current AS known
        WHERE known.venue = %(venue)s AND known.symbol = %(symbol)s AND known.channel = %(channel)s
            AND known.minute = minutes.minute
    )
"""
