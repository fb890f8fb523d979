"""A batch's suite, and its validation by Great Expectations on the staged rows in PostgreSQL."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from coinswarm.batches import Batch
from coinswarm.connections import Connection
from coinswarm.datasets import Dataset, Severity
from coinswarm.errors import StoreUnavailable
from coinswarm.names import slug
from coinswarm.quality.calendar import Calendar, calendar_of
from coinswarm.quality.checks import Check, declared_checks, literal
from coinswarm.quality.cross_venue import cross_venue_checks
from coinswarm.quality.outliers import outlier_checks
from coinswarm.quality.rules import domain_checks

# Great Expectations' words for ours.
GX_SEVERITY = {Severity.BLOCK: "critical", Severity.WARN: "warning"}
# Yes or no. Any other format scans the batch once more for every column; the gate counts where the answer is no.
RESULT_FORMAT = "BOOLEAN_ONLY"
# Statistics do not know a batch that was staged a moment ago: planned for one row, a join of it with itself would take
# the square of its rows.
_NO_NESTED_LOOPS = "?options=-c%20enable_nestloop%3Doff"


@dataclass(frozen=True, slots=True)
class Suite:
    """All checks of one batch, in the order in which a row's reasons are listed, and its calendar."""

    name: str
    dataset: Dataset
    batch: Batch
    expected_symbols: tuple[str, ...]
    checks: tuple[Check, ...]
    calendar: Calendar

    @property
    def rows(self) -> str:
        """Query for the staged rows of the batch."""
        return f"select * from staging.{slug(self.dataset.name)} where batch_id = {literal(str(self.batch.batch_id))}"

    def over(self, query: str) -> str:
        """A check's query with the batch put in, as plain SQL."""
        return query.replace("{batch}", f"({self.rows}) as batch")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Great Expectations found about a check; `error` is why it could not run."""

    check: Check
    success: bool
    error: str = ""


def suite_of(dataset: Dataset, batch: Batch, expected_symbols: tuple[str, ...] = ()) -> Suite:
    """The suite of a batch: the declaration's checks, then the domain's.

    Raises:
        UserError: an expected symbol cannot be a name.
    """
    calendar = calendar_of(dataset, batch, expected_symbols)
    checks = (
        *declared_checks(dataset),
        *domain_checks(dataset, batch, expected_symbols),
        *calendar.checks,
        *outlier_checks(dataset, batch),
        *cross_venue_checks(dataset, batch),
    )
    return Suite(f"{batch.source}.{batch.feed}", dataset, batch, expected_symbols, checks, calendar)


def load_great_expectations() -> Any:
    """Import Great Expectations without telemetry, and without its 200 log lines at import."""
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations

    return great_expectations


def new_context() -> Any:
    """A context that keeps everything in memory: no files, no sites, no telemetry, no progress bars."""
    gx = load_great_expectations()
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(),
        progress_bars={"globally": False},
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def expectations_of(suite: Suite) -> list[Any]:
    """The suite as Great Expectations' objects, each marked with its check's name in `meta`."""
    load_great_expectations()
    return [_expectation(check) for check in suite.checks]


def validate(connection: Connection, suite: Suite) -> list[Outcome]:
    """Run a suite on the staged rows in PostgreSQL and return its outcomes in the order of its checks.

    Raises:
        StoreUnavailable: the warehouse does not answer.
    """
    gx = load_great_expectations()
    from great_expectations.datasource.fluent.interfaces import TestConnectionError

    context = new_context()
    try:
        source = context.data_sources.add_postgres(
            "warehouse",
            connection_string=connection.dsn.replace("postgresql://", "postgresql+psycopg2://", 1) + _NO_NESTED_LOOPS,
        )
    except TestConnectionError as error:
        raise StoreUnavailable(f"{connection.conn_id}: {error}") from None
    try:
        batch = source.add_query_asset(suite.dataset.name, query=suite.rows).add_batch_definition_whole_table("staged")
        expectations = gx.ExpectationSuite(name=suite.name, expectations=expectations_of(suite))
        result = batch.get_batch().validate(expectations, result_format=RESULT_FORMAT)
    finally:
        source.get_engine().dispose()
        source.get_execution_engine().close()
    found = {one.expectation_config.meta["check"]: one for one in result.results}
    return [_outcome(check, found[check.name]) for check in suite.checks]


def _expectation(check: Check) -> Any:
    import great_expectations.expectations as gxe
    from great_expectations.expectations.conditions import Column as GxColumn

    from coinswarm.quality._expectations import NoFailingRows

    common: dict[str, Any] = {
        "severity": GX_SEVERITY[check.severity],
        "description": check.description,
        "meta": {"check": check.name, "scope": check.scope.value},
    }
    if check.native is None:
        return NoFailingRows(unexpected_rows_query=_escaped(check.rows), **common)
    arguments = dict(check.native.arguments)
    if check.native.unless_tombstone:
        arguments["row_condition"] = GxColumn("is_tombstone") == False  # noqa: E712 - builds a condition
    return getattr(gxe, check.native.expectation)(**arguments, **common)


def _escaped(query: str) -> str:
    # SQLAlchemy takes `:word` for a parameter, also inside of quotes.
    return re.sub(r"(?<![:\w\\]):(?=\w)", r"\\:", query)


def _outcome(check: Check, result: Any) -> Outcome:
    return Outcome(check, bool(result.success), "; ".join(_errors(result.exception_info)))


def _errors(info: Any) -> Iterator[str]:
    # Either one description, or a dictionary of them by metric.
    if not isinstance(info, dict):
        return
    if "raised_exception" in info:
        if info["raised_exception"]:
            yield str(info.get("exception_message"))[:300]
        return
    for nested in info.values():
        yield from _errors(nested)
