"""Every rule of every declaration is in the suite, once; and every suite compiles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from coinswarm.batches import Batch
from coinswarm.datasets import AFTER, BEFORE, STORED, Column, Dataset, Kind, Severity
from coinswarm.quality.checks import Scope, declared_checks, staged_columns
from coinswarm.quality.rules import WINDOW_RULES
from coinswarm.quality.suites import GX_SEVERITY, expectations_of, suite_of
from coinswarm.timeframes import Window

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 1, tzinfo=UTC)
DATASETS = pytest.mark.parametrize("dataset", STORED, ids=lambda dataset: dataset.name)


def batch_of(dataset: Dataset) -> Batch:
    timeframe = "15m" if "timeframe" in dataset.column_names else ""
    feed = f"{dataset.name}_{timeframe}".strip("_")
    window = Window(START, START + timedelta(hours=1))
    return Batch("binance", feed, dataset.name, timeframe, window, "ingest__binance__15m", "r")


@DATASETS
def test_suite_compiles_for_every_dataset(dataset: Dataset) -> None:
    suite = suite_of(dataset, batch_of(dataset), ("BTC-USDT", "ETH-USDT"))
    expectations = expectations_of(suite)
    assert [one.meta["check"] for one in expectations] == [check.name for check in suite.checks]
    assert [str(one.severity.value) for one in expectations] == [GX_SEVERITY[c.severity] for c in suite.checks]
    assert all(one.description for one in expectations)


@DATASETS
def test_suite_states_no_rule_twice(dataset: Dataset) -> None:
    checks = suite_of(dataset, batch_of(dataset), ("BTC-USDT",)).checks
    assert len({check.name for check in checks}) == len(checks)
    queries = [check.rows for check in checks if check.rows]
    assert len(set(queries)) == len(queries)


@DATASETS
def test_every_limit_of_a_column_is_in_the_suite(dataset: Dataset) -> None:
    checks = {check.name: check for check in declared_checks(dataset)}
    for column in (*BEFORE, *dataset.columns):
        if column.minimum is not None or column.maximum is not None or column.above is not None:
            native = checks[f"{column.name}.range"].native
            assert native is not None
            lower = column.above if column.above is not None else column.minimum
            assert native.arguments["min_value"] == lower
            assert native.arguments["max_value"] == column.maximum
            assert native.arguments["strict_min"] == (column.above is not None)
        if column.allowed:
            allowed = checks[f"{column.name}.allowed"].native
            assert allowed is not None
            assert tuple(allowed.arguments["value_set"]) == column.allowed
        assert (f"{column.name}.not_null" in checks) == (not column.nullable)
        assert (f"{column.name}.finite" in checks) == (column.kind is Kind.NUMERIC)


@DATASETS
def test_every_row_rule_is_in_the_suite_with_its_severity(dataset: Dataset) -> None:
    checks = {check.name: check for check in declared_checks(dataset)}
    for rule in dataset.rules:
        assert checks[rule.name].rows.endswith(f"where not ({rule.condition})")
        assert checks[rule.name].severity is rule.severity
        assert checks[rule.name].scope is Scope.RECORD


@DATASETS
def test_suite_checks_the_declared_columns_in_order(dataset: Dataset) -> None:
    (check,) = [check for check in declared_checks(dataset) if check.name == "table.columns"]
    assert check.native is not None
    assert tuple(check.native.arguments["column_list"]) == staged_columns(dataset)
    declared = [c.name for c in (*BEFORE, *dataset.columns, *AFTER) if c.name != "known_at"]
    assert list(staged_columns(dataset)) == [*declared, "row_no", "landing_key"]


def test_every_stored_dataset_has_a_window_rule() -> None:
    assert set(WINDOW_RULES) == {dataset.name for dataset in STORED}


def test_a_new_limit_in_a_declaration_reaches_the_suite() -> None:
    dataset = Dataset(
        name="ohlcv",
        domain=STORED[0].domain,
        description="",
        key=("event_at",),
        columns=(Column("share", Kind.NUMERIC, "", minimum=Decimal(0), maximum=Decimal("0.5")),),
    )
    (check,) = [check for check in declared_checks(dataset) if check.name == "share.range"]
    assert check.rows == "select row_no from {batch} where share < 0 or share > 0.5"
    assert check.severity is Severity.BLOCK
