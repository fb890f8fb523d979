"""Builds the marts: dbt in process, as of one watermark, results into the store. No Airflow in here.

    run = build_marts(resolve("pg_transform"))

A run takes its watermark from `ops.safe_now()`, reads nothing that became known later, and appends a version only where
a value changed: running it twice is harmless. Each mart records how far it has read in the transaction that appends.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import sql

from coinswarm.connections import Connection
from coinswarm.errors import CoinswarmError, UserError

log = logging.getLogger(__name__)

MARTS = (
    "market_aggregates",
    "positioning_by_venue",
    "planner_positioning",
    "liquidation_heatmap",
    "volatility_surface",
    "planner_sentiment",
    "planner_onchain",
    "planner_macro",
    "planner_features",
)
# Recomputed rows of each mart stand here during a run; a rebuild compares them with the versions.
REBUILD_SCHEMA = "rebuild"
_FAILED = ("error", "fail", "runtime error")
# dbt keeps its settings in the process: one invocation at a time.
_one_at_a_time = threading.Lock()


class MartsFailed(CoinswarmError):
    """A dbt node failed: the message names each with its error. Marts before it are built, those after it are not."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What became of one dbt node. `rows` is what it wrote, None if it writes none; `status` is dbt's word."""

    name: str
    kind: str
    status: str
    seconds: float
    rows: int | None
    message: str


@dataclass(frozen=True, slots=True)
class MartRun:
    """A finished run: its id, its watermark, its nodes in the order in which they finished."""

    run_id: UUID
    as_of: datetime
    nodes: tuple[NodeResult, ...]
    seconds: float

    @property
    def rows(self) -> int:
        """Versions that the run appended to marts."""
        return sum(node.rows or 0 for node in self.nodes if node.name in MARTS)


@dataclass(frozen=True, slots=True)
class RebuiltMart:
    """A mart recomputed from raw as of a moment, against its versions as of the same moment.

    `as_of` is the mart's last watermark at that moment, None if it had none. `missing` rows were recomputed but are not
    among the versions, `unexpected` ones the other way round; a changed value counts as one of each.
    """

    mart: str
    as_of: datetime | None
    rows: int
    missing: int
    unexpected: int
    examples: tuple[dict[str, Any], ...] = ()

    @property
    def agrees(self) -> bool:
        """True if the rebuild gives what was stored."""
        return not self.missing and not self.unexpected


def build_marts(
    transform: Connection,
    *,
    select: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
    as_of: datetime | None = None,
    touch_since: datetime | None = None,
    target_dir: Path | None = None,
) -> MartRun:
    """Build models and their tests up to a watermark, and append what changed.

    Args:
        transform: connection `pg_transform`.
        select: dbt selection, `tag:market`; None for all. Intermediate models must be selected with their marts.
        exclude: dbt selection to leave out.
        as_of: watermark shared by several calls; None takes `ops.safe_now()`.
        touch_since: recompute every bucket from that day on, after a change of a definition.
        target_dir: where dbt keeps its parse cache and logs; default `target` in the project.

    Raises:
        MartsFailed: a node failed.
        UserError: the selection is empty, or the watermark is in the future.
    """
    started = time.monotonic()
    watermark = _watermark(transform, as_of)
    run_id = uuid4()
    variables = {"as_of": watermark.isoformat(), "run_id": str(run_id)}
    if touch_since is not None:
        variables["touch_since"] = touch_since.astimezone(UTC).strftime("%Y-%m-%d 00:00:00+00")
    nodes = _build(transform, variables, _words(select), _words(exclude), target_dir or _default_target())
    _record(transform, run_id, watermark, nodes)
    _raise_failures(nodes)
    run = MartRun(run_id, watermark, nodes, time.monotonic() - started)
    _freshen_statistics(transform, nodes)
    log.info("marts as of %s: %d nodes, %d new versions, %.1f s", watermark, len(nodes), run.rows, run.seconds)
    return run


def rebuild_marts(
    transform: Connection,
    *,
    as_of: datetime,
    start: datetime,
    end: datetime,
    marts: Sequence[str] = MARTS,
    target_dir: Path | None = None,
) -> tuple[RebuiltMart, ...]:
    """Recompute marts from raw as of a moment in a scratch schema, by the same models, and compare with the versions.

    Args:
        transform: connection `pg_transform`.
        as_of: the moment; each mart is rebuilt as of its last watermark by then.
        start: first day of the buckets to compare.
        end: day after the last one.
        marts: which marts.
        target_dir: as in `build_marts`.

    Raises:
        MartsFailed: a node failed.
        UserError: a name is not that of a mart.
    """
    unknown = [mart for mart in marts if mart not in MARTS]
    if unknown:
        raise UserError(f"unknown mart {unknown[0][:40]!r}; known: {', '.join(MARTS)}")
    with psycopg.connect(transform.dsn) as connection:
        watermarks = {
            mart: connection.execute(
                "select max(as_of) from ops.mart_watermarks where mart = %s and as_of <= %s", (mart, as_of)
            ).fetchone()[0]  # type: ignore[index]  # an aggregate has one row
            for mart in marts
        }
    found: list[RebuiltMart] = [RebuiltMart(mart, None, 0, 0, 0) for mart in marts if watermarks[mart] is None]
    for moment in sorted({moment for moment in watermarks.values() if moment is not None}):
        chosen = [mart for mart in marts if watermarks[mart] == moment]
        variables = {
            "as_of": moment.isoformat(),
            "run_id": str(uuid4()),
            "rebuild_schema": REBUILD_SCHEMA,
            "rebuild_from": _day(start),
            "rebuild_to": _day(end),
        }
        _empty_schema(transform, REBUILD_SCHEMA)
        target = (target_dir or _default_target()) / REBUILD_SCHEMA
        nodes = _build(transform, variables, [f"+{mart}" for mart in chosen], [], target, command="run", seed=True)
        _raise_failures(nodes)
        with psycopg.connect(transform.dsn) as connection:
            found += [_compare(connection, mart, moment, start, end) for mart in chosen]
        _empty_schema(transform, REBUILD_SCHEMA)
    return tuple(sorted(found, key=lambda result: MARTS.index(result.mart)))


def run_unit_tests(transform: Connection, *, target_dir: Path | None = None) -> tuple[NodeResult, ...]:
    """Run the models' unit tests (golden numbers). The relations that they are about must exist: build first.

    Raises:
        MartsFailed: a test failed; the message has the first lines of each difference.
    """
    with _environment(transform), _one_at_a_time:
        nodes = _results(_invoke(["test", "--select", "test_type:unit"], target_dir or _default_target()))
    _raise_failures(nodes)
    return nodes


def generate_docs(transform: Connection, target_dir: Path) -> Path:
    """Write dbt's documentation as one self-contained page into `target_dir`; returns its path.

    Raises:
        MartsFailed: dbt could not write it.
    """
    with _environment(transform), _one_at_a_time:
        result = _invoke(["docs", "generate", "--static"], target_dir)
    page = target_dir / "static_index.html"
    if not result.success or not page.is_file():
        raise MartsFailed(f"dbt docs were not written: {result.exception or 'see the log'}")
    return page


def project_dir() -> Path:
    """The dbt project: beside `include/`, or `COINSWARM_DBT_PROJECT`."""
    return Path(os.environ.get("COINSWARM_DBT_PROJECT") or Path(__file__).resolve().parents[3] / "dbt_project")


def _default_target() -> Path:
    return project_dir() / "target"


def _watermark(transform: Connection, as_of: datetime | None) -> datetime:
    with psycopg.connect(transform.dsn, autocommit=True) as connection:
        row = connection.execute("select ops.safe_now()").fetchone()
    assert row is not None  # noqa: S101 - a function call returns a row
    now: datetime = row[0]
    if as_of is None:
        return now.astimezone(UTC)
    if as_of.tzinfo is None or as_of > now:
        raise UserError(f"the watermark {as_of.isoformat()} needs a time zone and must not be in the future")
    return as_of.astimezone(UTC)


def _words(selection: str | Sequence[str] | None) -> list[str]:
    if selection is None:
        return []
    return selection.split() if isinstance(selection, str) else list(selection)


def _day(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d 00:00:00+00")


def _build(
    transform: Connection,
    variables: dict[str, str],
    select: list[str],
    exclude: list[str],
    target: Path,
    *,
    command: str = "build",
    seed: bool = False,
) -> tuple[NodeResult, ...]:
    # Settings that are given at parse time (schema names) are part of the parse; the watermark is not, so that the
    # cached parse of the last run is good for this one.
    fixed = {name: value for name, value in variables.items() if name == "rebuild_schema"}
    with _environment(transform), _one_at_a_time, _alone(transform, fixed.get("rebuild_schema", "marts")):
        parsed = _invoke(["parse", "--vars", json.dumps(fixed)], target)
        if not parsed.success:
            raise MartsFailed(f"the dbt project does not parse: {parsed.exception}")
        # Unit tests are about the project, not about today's rows.
        words = ["--vars", json.dumps(variables)]
        words += ["--exclude-resource-type", "unit_test"] if command == "build" else []
        words += ["--select", *select] if select else []
        words += ["--exclude", *exclude] if exclude else []
        nodes: tuple[NodeResult, ...] = ()
        if seed:
            # Marts that need no seed leave nothing to do here.
            nodes += _results(_invoke(["seed", *words], target, manifest=parsed.result), or_none=True)
        return nodes + _results(_invoke([command, *words], target, manifest=parsed.result))


def _invoke(arguments: list[str], target: Path, *, manifest: Any = None) -> Any:
    from dbt.cli.main import dbtRunner

    target.mkdir(parents=True, exist_ok=True)
    paths = ["--project-dir", str(project_dir()), "--profiles-dir", str(project_dir())]
    paths += ["--target-path", str(target), "--log-path", str(target / "logs")]
    quiet = ["--quiet", "--no-use-colors", "--log-level-file", "info", "--no-send-anonymous-usage-stats"]
    # Results are taken from the answer; writing the manifest as JSON would cost a second of CPU per run.
    quiet += [] if arguments[0] == "docs" else ["--no-write-json"]
    return dbtRunner(manifest=manifest).invoke([*quiet, *arguments, *paths])


@contextlib.contextmanager
def _alone(transform: Connection, what: str) -> Iterator[None]:
    # Two builds at once would swap each other's work tables: the second one waits for the first, on any machine.
    with psycopg.connect(transform.dsn, autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(20413, hashtext(%s))", (what,))
        yield


@contextlib.contextmanager
def _environment(transform: Connection) -> Iterator[None]:
    # profiles.yml reads these; dbt offers no other way in that keeps the password out of files and arguments.
    values = {
        "COINSWARM_DBT_HOST": transform.host,
        "COINSWARM_DBT_PORT": str(transform.port or 5432),
        "COINSWARM_DBT_USER": transform.login,
        "COINSWARM_DBT_PASSWORD": transform.password,
        "COINSWARM_DBT_DBNAME": transform.schema,
        "DO_NOT_TRACK": "1",
    }
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _results(invoked: Any, *, or_none: bool = False) -> tuple[NodeResult, ...]:
    if invoked.exception is not None:
        raise MartsFailed(f"dbt stopped: {invoked.exception}")
    nodes = []
    for result in getattr(invoked.result, "results", ()):
        answer = result.adapter_response or {}
        rows = answer.get("rows_affected")
        nodes.append(
            NodeResult(
                name=result.node.name,
                kind=str(result.node.resource_type),
                status=str(result.status),
                seconds=round(result.execution_time, 3),
                rows=int(rows) if isinstance(rows, int) and rows >= 0 else None,
                message=str(result.message or ""),
            )
        )
    if not nodes and not or_none:
        raise UserError("the selection has no dbt node")
    return tuple(nodes)


def _raise_failures(nodes: tuple[NodeResult, ...]) -> None:
    failed = [node for node in nodes if node.status in _FAILED]
    if not failed:
        return
    skipped = sum(node.status == "skipped" for node in nodes)
    lines = [f"{len(failed)} of {len(nodes)} dbt nodes failed, {skipped} were skipped:"]
    lines += [f"  {node.kind} {node.name}: {' '.join(node.message.split())[:400]}" for node in failed[:10]]
    raise MartsFailed("\n".join(lines))


def _record(transform: Connection, run_id: UUID, as_of: datetime, nodes: tuple[NodeResult, ...]) -> None:
    with psycopg.connect(transform.dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.mart_runs (run_id, as_of, node, status, seconds, rows) values (%s, %s, %s, %s, %s, %s)",
            [(run_id, as_of, node.name, node.status, node.seconds, node.rows) for node in nodes],
        )


def _freshen_statistics(transform: Connection, nodes: tuple[NodeResult, ...]) -> None:
    # After a large append readers should not wait for autovacuum: index-only scans need the visibility map.
    for node in nodes:
        if node.name in MARTS and (node.rows or 0) >= 10_000:
            with psycopg.connect(transform.dsn, autocommit=True) as connection:
                connection.execute(sql.SQL("vacuum (analyze) {}").format(sql.Identifier("marts", node.name)))


def _empty_schema(transform: Connection, schema: str) -> None:
    with psycopg.connect(transform.dsn) as connection:
        rows = connection.execute(
            "select relname, relkind::text from pg_class "
            "where relnamespace = %s::regnamespace and relkind in ('r', 'v')",
            (schema,),
        ).fetchall()
        for name, kind in rows:
            drop = sql.SQL("drop view if exists {} cascade" if kind == "v" else "drop table if exists {} cascade")
            connection.execute(drop.format(sql.Identifier(schema, name)))


def _compare(
    connection: psycopg.Connection[Any], mart: str, as_of: datetime, start: datetime, end: datetime
) -> RebuiltMart:
    columns = [
        row[0]
        for row in connection.execute(
            "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped "
            "and attname not in ('known_at', 'run_id', 'row_hash', 'is_tombstone') order by attnum",
            (f"{REBUILD_SCHEMA}.{mart}",),
        )
    ]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    query = sql.SQL(
        "with rebuilt as (select {names} from {rebuilt} where bucket_at >= %(start)s and bucket_at < %(end)s), "
        "stored as (select {names} from {stored}(%(as_of)s) where bucket_at >= %(start)s and bucket_at < %(end)s), "
        "missing as (select * from rebuilt except all select * from stored), "
        "unexpected as (select * from stored except all select * from rebuilt) "
        "select (select count(*) from rebuilt), (select count(*) from missing), (select count(*) from unexpected), "
        "(select coalesce(jsonb_agg(to_jsonb(e)), '[]') from "
        "((select 'rebuilt' as side, missing.* from missing limit 3) union all "
        "(select 'stored', unexpected.* from unexpected limit 3)) as e)"
    ).format(
        names=names,
        rebuilt=sql.Identifier(REBUILD_SCHEMA, mart),
        stored=sql.Identifier("marts", f"{mart}_asof"),
    )
    row = connection.execute(query, {"start": _day(start), "end": _day(end), "as_of": as_of}).fetchone()
    assert row is not None  # noqa: S101 - aggregates have one row
    return RebuiltMart(mart, as_of, row[0], row[1], row[2], tuple(row[3]))


def clear_cache(target_dir: Path | None = None) -> None:
    """Forget dbt's parse cache and logs."""
    shutil.rmtree(target_dir or _default_target(), ignore_errors=True)
