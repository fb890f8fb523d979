"""What a dataset declaration is made of. Table, Parquet schema, suite and dbt source follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum


class Kind(StrEnum):
    """Storage type of a column; the value is the PostgreSQL type. Money and rates are `numeric`, never float."""

    TEXT = "text"
    NUMERIC = "numeric"
    INTEGER = "bigint"
    TIMESTAMP = "timestamptz"
    BOOLEAN = "boolean"
    JSON = "jsonb"


class Severity(StrEnum):
    """What a failed check does: `block` keeps the record (or batch) out of raw, `warn` is recorded only."""

    BLOCK = "block"
    WARN = "warn"


class Domain(StrEnum):
    """First level of the lake and of the DAG tags."""

    EXCHANGES = "exchanges"
    NEWS = "news"
    ONCHAIN = "onchain"
    MACRO = "macro"


@dataclass(frozen=True, slots=True)
class Column:
    """One column. The description states unit and meaning; the limits hold for every row of every source."""

    name: str
    kind: Kind
    description: str
    nullable: bool = False
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    above: Decimal | None = None
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RowRule:
    """A truth about single rows, as an SQL condition that must hold (NULL counts as holding)."""

    name: str
    condition: str
    description: str
    severity: Severity = Severity.BLOCK


@dataclass(frozen=True, slots=True)
class Dataset:
    """One canonical dataset: what is stored, by which key, and what is always true of it.

    `key` names the natural key beyond source and symbol. `grid` names the column whose value is the timeframe that
    `event_at` is aligned to, or a fixed timeframe; empty when rows come at any time. `stored` is false for payloads
    that are parsed (reference data, or a later table) but have no raw table. `partition_every` is `year` or `day`.
    """

    name: str
    domain: Domain
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]
    rules: tuple[RowRule, ...] = ()
    grid: str = ""
    outlier_column: str = ""
    cross_venue_column: str = ""
    schema_version: int = 1
    stored: bool = True
    partition_by: str = "event_at"
    partition_every: str = "year"
    column_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(column.name for column in self.columns)
        object.__setattr__(self, "column_names", names)
        unknown = set(self.key) - set(names) - {"event_at", "published_at"}
        if unknown or len(set(names)) != len(names):
            raise ValueError(f"dataset {self.name}: key or columns are inconsistent: {sorted(unknown)}")

    def column(self, name: str) -> Column:
        """The declared column of that name.

        Raises:
            KeyError: there is none.
        """
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)


ZERO = Decimal(0)


def text(name: str, description: str, *, nullable: bool = False, allowed: tuple[str, ...] = ()) -> Column:
    """A text column, optionally of a closed list of values."""
    return Column(name, Kind.TEXT, description, nullable=nullable, allowed=allowed)


def number(
    name: str,
    description: str,
    *,
    nullable: bool = False,
    minimum: Decimal | None = None,
    maximum: Decimal | None = None,
    above: Decimal | None = None,
) -> Column:
    """An exact decimal column; `above` is an exclusive, `minimum` an inclusive lower limit."""
    return Column(name, Kind.NUMERIC, description, nullable=nullable, minimum=minimum, maximum=maximum, above=above)


def price(name: str, description: str, *, nullable: bool = False) -> Column:
    """A price: exact and greater than zero."""
    return number(name, description, nullable=nullable, above=ZERO)


def amount(name: str, description: str, *, nullable: bool = False) -> Column:
    """A size, volume or value: exact and not negative."""
    return number(name, description, nullable=nullable, minimum=ZERO)


def count(name: str, description: str, *, nullable: bool = False) -> Column:
    """A whole number, not negative."""
    return Column(name, Kind.INTEGER, description, nullable=nullable, minimum=ZERO)


def moment(name: str, description: str, *, nullable: bool = False) -> Column:
    """A UTC point in time."""
    return Column(name, Kind.TIMESTAMP, description, nullable=nullable)
