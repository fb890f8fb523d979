"""The gate between staging and publishing: a batch passes, passes without its bad rows, or is refused.

- A row that breaks a blocking record check goes to `quarantine.records` with its reasons; the rest goes on.
- The batch is refused if a blocking batch check fails, if a check could not run, or if more than MAX_QUARANTINED of its
  rows were quarantined, here or when it was parsed.
- An empty batch of which nothing was expected passes.
- The score is kept with the results; publishing gives it to the rows.

Running the gate again on the same batch gives the same verdict; results are appended with their own `checked_at`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from coinswarm.batches import Batch
from coinswarm.connections import Connection
from coinswarm.datasets import Severity, dataset_named
from coinswarm.quality.calendar import Coverage, gaps
from coinswarm.quality.checks import Check, Scope, literal, natural_key
from coinswarm.quality.rules import LATE_PERIODS, is_scheduled
from coinswarm.quality.scores import SCORE_VERSION, Dimensions, Measures, dimensions_of, score
from coinswarm.quality.suites import Outcome, Suite, suite_of, validate
from coinswarm.storage.database import Session, connect
from coinswarm.storage.staging import lock_batch

# More bad rows than this share say that something is wrong with the source, not with single rows.
MAX_QUARANTINED = 0.20
# Name of the verdict among a run's results.
VERDICT = "gate"
SAMPLES = 10
MOST_MISSING = 10_000
MOST_PAYLOAD = 16_000
FLAGGED = "pg_temp.gate_flagged"


@dataclass(frozen=True, slots=True)
class Finding:
    """One example of a failed check: the row's symbol and event time where there is one, and what was observed."""

    check: str
    severity: Severity
    field: str
    description: str
    count: int
    symbol: str = ""
    event_at: datetime | None = None
    observed: str = ""

    def __str__(self) -> str:
        where = " ".join(
            part for part in (self.symbol, f"{self.event_at:%Y-%m-%d %H:%M}" if self.event_at else "") if part
        )
        observed = f" {self.field}={self.observed}" if self.observed else ""
        return f"{self.severity} {self.check} ({self.count}): {where}{observed}: {self.description}".replace("  ", " ")


@dataclass(frozen=True, slots=True)
class Counted:
    """An outcome with its numbers: rows looked at, and rows (or findings) that broke the rule."""

    outcome: Outcome
    elements: int
    unexpected: int

    @property
    def check(self) -> Check:
        """The check."""
        return self.outcome.check

    @property
    def success(self) -> bool:
        """Whether the check held."""
        return self.outcome.success

    @property
    def error(self) -> str:
        """Why the check could not run, else empty."""
        return self.outcome.error


@dataclass(frozen=True, slots=True)
class GateReport:
    """Verdict on a batch.

    `rows` stayed in staging, `quarantined` counts rows of the batch set aside so far, at parse or here. `failures` and
    `warnings` are examples, at most ten per check. `score` is None if there was nothing to score.
    """

    batch_id: UUID
    suite: str
    passed: bool
    score: Decimal | None
    rows: int
    quarantined: int
    reasons: tuple[str, ...]
    failures: tuple[Finding, ...]
    warnings: tuple[Finding, ...]

    def summary(self) -> str:
        """The verdict with its reasons and the first ten failures, for a person to read."""
        verdict = "passed" if self.passed else "refused"
        lines = [
            f"{self.suite} batch {self.batch_id} {verdict}: {self.rows} rows kept, {self.quarantined} quarantined,"
            f" score {self.score}"
        ]
        lines += [f"  refused because {reason}" for reason in self.reasons]
        lines += [f"  {finding}" for finding in self.failures[:SAMPLES]]
        if not self.failures:
            lines += [f"  {finding}" for finding in self.warnings[:SAMPLES]]
        return "\n".join(lines)


def run_gate(connection: Connection, batch: Batch, *, expected_symbols: Sequence[str]) -> GateReport:
    """Check the staged rows of a batch, set bad rows aside, and store results and score.

    Args:
        connection: the warehouse as role `ingest`.
        batch: what was staged.
        expected_symbols: symbols that a complete batch has rows of; empty for market-wide feeds.

    Returns:
        The verdict. A refused batch is reported, not raised: the caller decides.

    Raises:
        UserError: unknown dataset, or an expected symbol that cannot be a name.
        StoreUnavailable: the warehouse does not answer.
    """
    suite = suite_of(dataset_named(batch.dataset), batch, tuple(expected_symbols))
    with connect(connection, autocommit=True) as session:
        session.execute("set enable_nestloop = off")  # as in `validate`
        published = _earlier_verdict(session, suite)
        if published is not None:
            return published
        found = _counted(session, suite, validate(connection, suite))
        set_aside = [outcome for outcome in found if _sets_rows_aside(outcome)]
        left = found
        samples: list[Finding] = []
        if set_aside:
            samples = [finding for outcome in set_aside for finding in _samples(session, suite, outcome)]
            with session.transaction():
                lock_batch(session, batch)
                _quarantine(session, suite, [outcome.check for outcome in set_aside])
            # What stays is judged anew: it must be clean now, and a bar that was set aside is a bar that is missing.
            left = _counted(session, suite, validate(connection, suite))
        with session.transaction():
            lock_batch(session, batch)
            report, dimensions, measures = _conclude(session, suite, left, samples)
            _store(session, suite, _merged(found, left), report, dimensions, measures)
    return report


def _earlier_verdict(session: Session, suite: Suite) -> GateReport | None:
    # A published batch has left staging: asked again, the gate says what it said then.
    batch_id = suite.batch.batch_id
    if session.execute("select 1 from ops.batches where batch_id = %s", [batch_id]).fetchone() is None:
        return None
    row = session.execute(
        "select element_count - unexpected_count, unexpected_count, (observed ->> 'score')::numeric"
        " from ops.quality_results where batch_id = %s and expectation = %s and success"
        " order by checked_at desc limit 1",
        [batch_id, VERDICT],
    ).fetchone()
    if row is None:
        return None
    rows, quarantined, scored = row
    return GateReport(batch_id, suite.name, True, scored, rows, quarantined, (), (), ())


def _counted(session: Session, suite: Suite, outcomes: Iterable[Outcome]) -> list[Counted]:
    # Some queries read history: each runs once here, and counts, examples and quarantine take the rows from the table.
    session.execute(f"create temporary table if not exists {FLAGGED} (check_name text, row_no bigint)")
    session.execute(f"truncate {FLAGGED}")
    (elements,) = _one(session, f"select count(*) from ({suite.rows}) as batch")
    counted = []
    for outcome in outcomes:
        check, unexpected = outcome.check, int(not outcome.success)
        if unexpected and check.rows and not outcome.error:
            failing = f"({suite.over(check.rows)}) as failing"
            if check.scope is Scope.RECORD:
                unexpected = session.execute(
                    f"insert into {FLAGGED} select {literal(check.name)}, row_no from {failing}"
                ).rowcount
            else:
                (unexpected,) = _one(session, f"select count(*) from {failing}")
        counted.append(Counted(outcome, elements, unexpected))
    return counted


def _sets_rows_aside(outcome: Counted) -> bool:
    if outcome.success or outcome.error:
        return False
    return outcome.check.scope is Scope.RECORD and outcome.check.severity is Severity.BLOCK


def _merged(found: Iterable[Counted], left: Iterable[Counted]) -> list[Counted]:
    # Stored is what was wrong with the batch as it came; where nothing was set aside, what is true of the rest.
    return [before if _sets_rows_aside(before) else after for before, after in zip(found, left, strict=True)]


def _conclude(
    session: Session, suite: Suite, outcomes: list[Counted], samples: list[Finding]
) -> tuple[GateReport, Dimensions, Measures]:
    blocking = [o for o in outcomes if not o.success and (o.check.severity is Severity.BLOCK or o.error)]
    warned = [o for o in outcomes if not o.success and o not in blocking]
    measures = _measure(session, suite, outcomes, warned)
    handled = measures.rows + measures.quarantined
    reasons = [f"{o.check.name}: {f'could not run: {o.error}' if o.error else o.check.description}" for o in blocking]
    if handled and measures.quarantined / handled > MAX_QUARANTINED:
        share = measures.quarantined / handled
        reasons.append(f"{share:.0%} of its {handled} rows are quarantined, more than {MAX_QUARANTINED:.0%}")
    failures = [*samples, *(finding for outcome in blocking for finding in _samples(session, suite, outcome))]
    if not failures and measures.quarantined:
        failures = _earlier_rejections(session, suite)
    dimensions = dimensions_of(measures)
    nothing = handled == 0 and not measures.expected
    report = GateReport(
        batch_id=suite.batch.batch_id,
        suite=suite.name,
        passed=not reasons,
        score=None if nothing else score(dimensions, suspect=bool(reasons)),
        rows=measures.rows,
        quarantined=measures.quarantined,
        reasons=tuple(reasons),
        failures=tuple(failures),
        warnings=tuple(finding for outcome in warned for finding in _samples(session, suite, outcome)),
    )
    return report, dimensions, measures


def _quarantine(session: Session, suite: Suite, checks: Sequence[Check]) -> None:
    session.execute(
        f"""
        with failing as (
            select row_no, min(position) as first_check, string_agg(reason, '; ' order by position) as reason
            from {FLAGGED} join unnest(%(names)s::text[], %(reasons)s::text[])
                with ordinality as checks (check_name, reason, position) using (check_name)
            group by row_no
        ),
        moved as (
            delete from staging.{suite.dataset.name} as staged using failing
            where staged.batch_id = %(batch_id)s and staged.row_no = failing.row_no
            returning staged.*, failing.first_check, failing.reason
        )
        insert into quarantine.records
            (batch_id, source, dataset, symbol, row_no, field, reason, stage, payload, landing_key)
        select moved.batch_id, %(source)s, %(dataset)s, moved.symbol, moved.row_no,
            (%(fields)s::text[])[moved.first_check], moved.reason, 'gate',
            case when length(payload::text) > {MOST_PAYLOAD}
                then jsonb_build_object('cut', left(payload::text, {MOST_PAYLOAD})) else payload end,
            moved.landing_key
        from moved, lateral (
            select to_jsonb(moved)
                - '{{batch_id,record_hash,row_no,landing_key,quality_score,first_check,reason}}'::text[]
        ) as kept (payload)
        on conflict do nothing
        """,
        {
            "batch_id": suite.batch.batch_id,
            "source": suite.batch.source,
            "dataset": suite.dataset.name,
            "names": [check.name for check in checks],
            "reasons": [f"{check.name}: {check.description}" for check in checks],
            "fields": [check.field for check in checks],
        },
    )


def _measure(session: Session, suite: Suite, outcomes: list[Counted], warned: list[Counted]) -> Measures:
    batch = suite.batch
    key = ", ".join(natural_key(suite.dataset))
    rows, distinct, received = _one(
        session,
        f"select count(*), (select count(*) from (select distinct {key} from ({suite.rows}) as batch) as keys),"
        f" max(received_at) from ({suite.rows}) as batch",
    )
    (quarantined,) = _one(
        session,
        "select count(*) from (select distinct stage, landing_key, row_no from quarantine.records"
        " where batch_id = %s) as refused",
        [batch.batch_id],
    )
    expected, missing = None, 0
    if suite.calendar.verifiable:
        (expected,) = _one(session, f"select count(*) from ({suite.over(suite.calendar.expected)}) as slots")
        missing = next((o.unexpected for o in outcomes if o.check.name == "calendar.complete"), 0)
    # Repeated rows have a dimension of their own.
    names = [outcome.check.name for outcome in warned if outcome.check.name != "natural_key.unique"]
    (warned_rows,) = _one(
        session, f"select count(distinct row_no) from {FLAGGED} where check_name = any(%s::text[])", [names]
    )
    length = batch.window.end - batch.window.start
    delay = received - batch.window.end if received is not None and is_scheduled(batch) else None
    return Measures(
        rows=rows,
        distinct_keys=distinct,
        warned=warned_rows,
        quarantined=quarantined,
        expected=expected,
        missing=missing,
        delay=None if delay is None else max(delay, timedelta(0)),
        allowed_delay=LATE_PERIODS * length,
    )


def _samples(session: Session, suite: Suite, outcome: Counted) -> list[Finding]:
    check = outcome.check
    general = Finding(check.name, check.severity, check.field, check.description, outcome.unexpected)
    if outcome.error or not check.rows:
        return [replace(general, observed=outcome.error)]
    if check.name.startswith("calendar."):
        return [
            replace(general, symbol=symbol, event_at=slot, field="", description=text)
            for symbol, slot, text in _missing(session, suite)[:SAMPLES]
        ] or [general]
    field = check.field if check.field not in ("", "row") else ""
    failing = f"select row_no from {FLAGGED} where check_name = {literal(check.name)}"
    if check.scope is Scope.BATCH:
        failing = suite.over(check.rows)
    rows = session.execute(
        f"select symbol, event_at, {f'left({field}::text, 60)' if field else 'null'} from ({suite.rows}) as batch"
        f" where row_no in ({failing}) order by row_no limit {SAMPLES}"
    ).fetchall()
    return [
        replace(general, symbol=symbol, event_at=event_at, observed=observed or ("null" if field else ""))
        for symbol, event_at, observed in rows
    ] or [general]


def _missing(session: Session, suite: Suite) -> list[tuple[str, datetime | None, str]]:
    calendar = suite.calendar
    slots: list[tuple[str, datetime]] = [
        (symbol, slot)
        for symbol, slot in session.execute(
            f"select symbol, slot from ({suite.over(calendar.missing)}) as missing order by 1, 2 limit {MOST_MISSING}"
        ).fetchall()
    ]
    if calendar.step is not None:
        return [
            (gap.symbol, gap.first, f"{gap.slots} missing ({gap.kind}), to {gap.last:%Y-%m-%d %H:%M}")
            for gap in gaps(suite.batch.window, calendar.step, slots)
        ]
    if calendar.coverage is Coverage.SETTLEMENTS:
        return [(symbol, slot, "settlement missing") for symbol, slot in slots]
    return [(symbol, None, "no row came") for symbol, _ in slots]


def _earlier_rejections(session: Session, suite: Suite) -> list[Finding]:
    rows = session.execute(
        "select coalesce(symbol, ''), coalesce(field, 'row'), reason, stage from quarantine.records where batch_id = %s"
        f" order by stage desc, landing_key, row_no limit {SAMPLES}",
        [suite.batch.batch_id],
    ).fetchall()
    return [
        Finding(f"quarantined at {stage}", Severity.BLOCK, field, f"{field}: {reason}", 1, symbol)
        for symbol, field, reason, stage in rows
    ]


def _store(
    session: Session,
    suite: Suite,
    outcomes: list[Counted],
    report: GateReport,
    dimensions: Dimensions,
    measures: Measures,
) -> None:
    batch_id = suite.batch.batch_id
    (now,) = _one(session, "select clock_timestamp()")
    found: dict[str, list[dict[str, Any]]] = {}
    for finding in (*report.failures, *report.warnings):
        found.setdefault(finding.check, []).append(_as_json(finding))
    verdict = {
        "batch": suite.batch.to_json(),
        "expected_symbols": list(suite.expected_symbols),
        "expected_slots": measures.expected,
        "coverage": suite.calendar.coverage.value,
        "reasons": list(report.reasons),
        "score": None if report.score is None else str(report.score),
    }
    results: list[tuple[Any, ...]] = [
        (batch_id, suite.name, VERDICT, None, "block", report.passed, report.rows + report.quarantined,
         report.quarantined, Jsonb(verdict), now)
    ]  # fmt: skip
    for outcome in outcomes:
        check = outcome.check
        observed: dict[str, Any] = {}
        if outcome.error:
            observed["error"] = outcome.error
        if not outcome.success and check.name in found:
            observed["examples"] = found[check.name]
        results.append(
            (batch_id, suite.name, check.name, check.field or None, check.severity.value, outcome.success,
             outcome.elements, outcome.unexpected,
             Jsonb(observed) if observed else None, now)
        )  # fmt: skip
    with session.cursor() as cursor:
        cursor.executemany(
            "insert into ops.quality_results (batch_id, suite, expectation, column_name, severity, success,"
            " element_count, unexpected_count, observed, checked_at) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            results,
        )
    if report.score is None:
        return
    stored = dimensions.stored()
    session.execute(
        "insert into ops.quality_scores (batch_id, score_version, completeness, timeliness, validity, consistency,"
        " uniqueness, score) values (%s, %s, %s, %s, %s, %s, %s, %s)",
        [batch_id, SCORE_VERSION, *stored.values(), report.score],
    )


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "symbol": finding.symbol,
        "event_at": finding.event_at.isoformat() if finding.event_at else None,
        "field": finding.field,
        "observed": finding.observed,
        "text": finding.description,
    }


def _one(session: Session, query: str, parameters: Sequence[Any] = ()) -> tuple[Any, ...]:
    row = session.execute(query, parameters or None).fetchone()
    assert row is not None  # noqa: S101 - an aggregate always has a row
    return row
