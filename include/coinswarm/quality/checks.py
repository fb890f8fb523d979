"""What a check is, and the checks that follow from a dataset's declaration.

A check is stated once and used twice: Great Expectations says whether it holds, and the same statement as a query names
the rows that break it, so that the gate can move them to quarantine in SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from psycopg import sql

from coinswarm.datasets import AFTER, BEFORE, Column, Dataset, Kind, Severity


class Scope(StrEnum):
    """What fails: single rows, which can be set aside, or the batch as a whole."""

    RECORD = "record"
    BATCH = "batch"


@dataclass(frozen=True, slots=True)
class Native:
    """One of Great Expectations' own expectations, by class name. `unless_tombstone` leaves withdrawn records out."""

    expectation: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unless_tombstone: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One rule of a suite.

    `rows` is a query over `{batch}` that yields what breaks the rule: with scope RECORD a column `row_no`, each failing
    row once; with scope BATCH one row per finding. It is empty only for native checks of the table's shape. Without
    `native`, the query is the expectation.
    """

    name: str
    field: str
    scope: Scope
    severity: Severity
    description: str
    rows: str
    native: Native | None = None


def literal(value: object) -> str:
    """`value` as an SQL literal."""
    return sql.Literal(value).as_string(None)


def failing_rows(condition: str) -> str:
    """Query for the rows for which `condition` is true; unknown (NULL) does not fail."""
    return f"select row_no from {{batch}} where {condition}"


def staged_columns(dataset: Dataset) -> tuple[str, ...]:
    """Columns of the dataset's staging table, in order: raw's without `known_at`, then the staging columns."""
    after = [column.name for column in AFTER if column.name != "known_at"]
    return (*(column.name for column in BEFORE), *dataset.column_names, *after, "row_no", "landing_key")


def natural_key(dataset: Dataset) -> tuple[str, ...]:
    """Columns that name a record within one batch (the source is the same throughout)."""
    return ("symbol", *dataset.key)


def declared_checks(dataset: Dataset) -> Iterator[Check]:
    """Checks that follow from the declaration alone: columns, nulls, ranges, closed lists, row rules, duplicates."""
    names = list(staged_columns(dataset))
    yield Check(
        "table.columns",
        "",
        Scope.BATCH,
        Severity.BLOCK,
        "The staging table has the declared columns, in order.",
        "",
        Native("ExpectTableColumnsToMatchOrderedList", {"column_list": names}),
    )
    for column in BEFORE:
        yield from _of_column(column, always=True)
    for column in dataset.columns:
        yield from _of_column(column, always=column.name in dataset.key)
    for rule in dataset.rules:
        yield Check(
            rule.name,
            "row",
            Scope.RECORD,
            rule.severity,
            rule.description,
            failing_rows(f"not ({rule.condition})"),
        )
    yield _of_allowed("schema_version", (dataset.schema_version,), f"The row is of version {dataset.schema_version}.")
    yield _no_conflict(dataset)
    yield _no_repetition(dataset)


def _of_column(column: Column, *, always: bool) -> Iterator[Check]:
    name = column.name
    if not column.nullable:
        unless = "" if always else " and not is_tombstone"
        yield Check(
            f"{name}.not_null",
            name,
            Scope.RECORD,
            Severity.BLOCK,
            f"{name} is present.",
            failing_rows(f"{name} is null{unless}"),
            Native("ExpectColumnValuesToNotBeNull", {"column": name}, unless_tombstone=not always),
        )
    if column.kind is Kind.NUMERIC:
        # PostgreSQL's numeric knows NaN and Infinity, and NaN is above every minimum.
        endless = ("NaN", "Infinity", "-Infinity")
        yield Check(
            f"{name}.finite",
            name,
            Scope.RECORD,
            Severity.BLOCK,
            f"{name} is a finite number.",
            failing_rows(f"{name} in ({', '.join(literal(value) for value in endless)})"),
            Native("ExpectColumnValuesToNotBeInSet", {"column": name, "value_set": list(endless)}),
        )
    limits = [
        (f"{name} < {column.minimum}", f"at least {column.minimum}") if column.minimum is not None else None,
        (f"{name} <= {column.above}", f"above {column.above}") if column.above is not None else None,
        (f"{name} > {column.maximum}", f"at most {column.maximum}") if column.maximum is not None else None,
    ]
    stated = [limit for limit in limits if limit is not None]
    if stated:
        lower = column.above if column.above is not None else column.minimum
        yield Check(
            f"{name}.range",
            name,
            Scope.RECORD,
            Severity.BLOCK,
            f"{name} is {' and '.join(words for _, words in stated)}.",
            failing_rows(" or ".join(condition for condition, _ in stated)),
            Native(
                "ExpectColumnValuesToBeBetween",
                {
                    "column": name,
                    "min_value": _plain(lower),
                    "max_value": _plain(column.maximum),
                    "strict_min": column.above is not None,
                },
            ),
        )
    if column.allowed:
        yield _of_allowed(name, column.allowed, f"{name} is one of {', '.join(column.allowed)}.")


def _of_allowed(name: str, allowed: tuple[str | int, ...], description: str) -> Check:
    return Check(
        f"{name}.allowed",
        name,
        Scope.RECORD,
        Severity.BLOCK,
        description,
        failing_rows(f"{name} not in ({', '.join(literal(value) for value in allowed)})"),
        Native("ExpectColumnValuesToBeInSet", {"column": name, "value_set": list(allowed)}),
    )


def _no_conflict(dataset: Dataset) -> Check:
    key = ", ".join(natural_key(dataset))
    # Nobody can say which of two differing copies is right, so both are set aside and the slot shows as missing.
    return Check(
        "natural_key.no_conflict",
        natural_key(dataset)[-1],
        Scope.RECORD,
        Severity.BLOCK,
        f"No two rows of ({key}) differ.",
        "select row_no from (select row_no, first_value(record_hash) over same_key as lowest,"
        " last_value(record_hash) over same_key as highest from {batch} window same_key as"
        f" (partition by {key} order by record_hash rows between unbounded preceding and unbounded following))"
        " as copies where lowest <> highest",
    )


def _no_repetition(dataset: Dataset) -> Check:
    key = natural_key(dataset)
    # Overlapping pages repeat rows. Equal copies are harmless, publishing takes one, but they tell about the source.
    return Check(
        "natural_key.unique",
        key[-1],
        Scope.RECORD,
        Severity.WARN,
        f"({', '.join(key)}) occurs once in a batch.",
        "select row_no from (select row_no, row_number() over (partition by"
        f" {', '.join(key)} order by row_no) as copy from {{batch}}) as copies where copy > 1",
        Native("ExpectCompoundColumnsToBeUnique", {"column_list": list(key)}),
    )


def _plain(limit: Decimal | None) -> int | float | None:
    if limit is None:
        return None
    return int(limit) if limit == int(limit) else float(limit)
