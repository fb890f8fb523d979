"""What planners read: features per planner symbol and bucket, now or as of a moment.

    frame = PlannerData(resolve("pg_planner")).get_features(
        ["BTC-USD"], ["price", "funding", "macro"], window_days=30, granularity="1h"
    )

The store keeps exact numerics. Frames have float64 by default, for analysis: the double nearest to the stored number,
so that the same question gives the same bytes; `exact=True` gives `Decimal` objects instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import psycopg
from psycopg import sql

from coinswarm.connections import Connection
from coinswarm.errors import UserError
from coinswarm.registry import PLANNER_SYMBOLS
from coinswarm.timeframes import duration, floor

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

GRANULARITIES = ("1h", "4h", "1d")
GROUPS = ("price", "volatility", "funding", "positioning", "flow", "options", "sentiment", "onchain", "macro")
MAX_WINDOW_DAYS = 3660
DAY = timedelta(days=1)
# PostgreSQL counts microseconds from here.
_PG_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_PG_EPOCH_US = int((_PG_EPOCH - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1))
# One tuple of `copy … (format binary)`: a field count, then each field after its length. No field is ever null.
_RECORD = np.dtype(
    [
        ("fields", ">i2"),
        ("l1", ">i4"), ("symbol", ">i4"),
        ("l2", ">i4"), ("feature", ">i4"),
        ("l3", ">i4"), ("bucket", ">i8"),
        ("l4", ">i4"), ("value", ">f8"),
        ("l5", ">i4"), ("verified", ">f8"),
        ("l6", ">i4"), ("known", ">i8"),
    ]
)  # fmt: skip
_COPY_HEADER = 19
_COPY_TRAILER = 2


@dataclass(frozen=True, slots=True)
class Feature:
    """A column that `get_features` can return. `granularity` is the finest bucket it has, `unit` that of its value."""

    name: str
    group: str
    scope: str
    granularity: str
    rollup: str
    unit: str
    description: str

    def stored_at(self, granularity: str) -> bool:
        """True if the store has it in buckets of that length; else a daily value may be carried forward."""
        if self.granularity == "bucket" or self.granularity == granularity:
            return True
        return self.granularity == "1h" and self.rollup != "none"

    def carried_to(self, granularity: str) -> bool:
        """True if a bucket of that length shows the value of the last whole day before its end."""
        return self.granularity == "1d" and granularity != "1d"


@dataclass(frozen=True, slots=True)
class _Values:
    # (symbol, bucket, feature) → value, NaN or None where there is none; the rest per (symbol, bucket).
    value: Any
    known_us: Any
    verified: Any


class PlannerData:
    """Reader of the planner marts. Opens a connection per call and holds none; safe to share between threads."""

    def __init__(self, connection: Connection | str) -> None:
        """Take connection `pg_planner`, or a PostgreSQL URI."""
        self._dsn = connection if isinstance(connection, str) else connection.dsn

    def features(self) -> tuple[Feature, ...]:
        """Everything that can be asked for, in the order of the columns: by group, then by name.

        Raises:
            UserError: no marts have been built yet.
        """
        with psycopg.connect(self._dsn) as connection:
            return _catalog(connection)

    def symbols(self) -> tuple[str, ...]:
        """Symbols that have features, and the registry's planner symbols."""
        with psycopg.connect(self._dsn) as connection:
            return _symbols(connection)

    def get_features(
        self,
        symbols: Sequence[str],
        sources: Sequence[str],
        window_days: int,
        granularity: str,
        end: datetime | None = None,
        as_of: datetime | None = None,
        output: Literal["pandas", "arrow"] = "pandas",
        *,
        exact: bool = False,
    ) -> pd.DataFrame | pa.Table:
        """Features of symbols over a window: one row per symbol and bucket that has any, ordered by both.

        Buckets are half-open and labelled by their start, UTC. A daily feature (macro, on-chain) in a shorter bucket is
        that of the last whole day before the bucket's end, so that nothing of the future is in a row.

        Args:
            symbols: planner symbols, `BTC-USD`.
            sources: feature groups, any of `GROUPS`.
            window_days: length of the window, in days.
            granularity: `1h`, `4h` or `1d`.
            end: end of the window, rounded up to the next bucket; default `as_of`.
            as_of: only what was known then. The answer to a question about a moment before the last finished run never
                changes; the default is that run's watermark. `attrs["as_of"]` (metadata in Arrow) says which
                watermark the frame is of: ask with it to get the same bytes again.
            output: `pandas` (index symbol, bucket_at) or `arrow` (both as columns).
            exact: `Decimal` objects instead of float64 (pandas only, slower).

        Returns:
            A column per feature of the groups, null where unknown; `known_at`, the newest of the row's values; and
            `verified_fraction`, the least share of verified inputs among them (1 for REST bars that passed).

        Raises:
            UserError: unknown symbol, group, granularity or output (the message lists what exists), or no marts yet.
        """
        step = _step(granularity)
        if output not in ("pandas", "arrow") or (exact and output == "arrow"):
            raise UserError(f"output {str(output)[:40]!r}: give 'pandas' or 'arrow'; exact numbers come with 'pandas'")
        if not isinstance(window_days, int) or not 1 <= window_days <= MAX_WINDOW_DAYS:
            raise UserError(f"window_days is a whole number from 1 to {MAX_WINDOW_DAYS}, not {str(window_days)[:40]}")
        groups = _known("source", sources, GROUPS)
        with psycopg.connect(self._dsn) as connection:
            names = _known("symbol", symbols, _symbols(connection))
            catalog = [feature for feature in _catalog(connection) if feature.group in groups]
            watermark = _watermark(connection, as_of)
            last = _utc("end", end) if end is not None else (as_of and _utc("as_of", as_of)) or watermark
            assert last is not None  # noqa: S101 - without as_of, _watermark gives one or raises
            stop = floor(last - timedelta(microseconds=1), step) + step
            start = stop - window_days * DAY
            columns = [f for f in catalog if f.stored_at(granularity) or f.carried_to(granularity)]
            direct = [f for f in columns if f.stored_at(granularity)]
            carried = [f for f in columns if not f.stored_at(granularity)]
            found = _read(connection, names, direct, granularity, start, stop, watermark, exact)
            if carried:
                days = (floor(start + step, DAY) - DAY, floor(stop, DAY))
                daily = _read(connection, names, carried, "1d", *days, watermark, exact)
                found = _beside(found, _carry(daily, days[0], start, stop, step))
        order = [columns.index(feature) for feature in (*direct, *carried)]
        present = np.flatnonzero(found.known_us.reshape(-1) > 0)
        table = np.empty((present.size, len(columns)), dtype=object if exact else np.float64)
        table[:, order] = found.value.reshape(-1, len(columns))[present]
        return _frame(
            [feature.name for feature in columns], names, present, table, found, start, step, watermark, output
        )


def _step(granularity: str) -> timedelta:
    if granularity not in GRANULARITIES:
        raise UserError(f"unknown granularity {str(granularity)[:40]!r}; known: {', '.join(GRANULARITIES)}")
    return duration(granularity)


def _known(what: str, asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    given = (asked,) if isinstance(asked, str) else tuple(dict.fromkeys(asked))
    unknown = [name for name in given if name not in known]
    if unknown or not given:
        problem = f"unknown {what} {str(unknown[0])[:40]!r}" if unknown else f"no {what} given"
        raise UserError(f"{problem}; known: {', '.join(known)}")
    return tuple(sorted(given))


def _utc(what: str, moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise UserError(f"{what} needs a time zone; use UTC")
    return moment.astimezone(UTC)


def _catalog(connection: psycopg.Connection[Any]) -> tuple[Feature, ...]:
    try:
        rows = connection.execute(
            "select feature, feature_group, scope, granularity, rollup, unit, description from marts.feature_catalog"
        ).fetchall()
    except psycopg.errors.UndefinedTable:
        raise UserError("no marts have been built yet: run the DAG build_planner_marts") from None
    return tuple(sorted((Feature(*row) for row in rows), key=lambda f: (GROUPS.index(f.group), f.name)))


def _symbols(connection: psycopg.Connection[Any]) -> tuple[str, ...]:
    # One step of the index per symbol, not a scan of the table.
    try:
        rows = connection.execute(
            "with recursive known as ((select min(symbol) as symbol from marts.planner_features) union all "
            "select (select min(f.symbol) from marts.planner_features as f where f.symbol > known.symbol) "
            "from known where known.symbol is not null) select symbol from known where symbol is not null"
        ).fetchall()
    except psycopg.errors.UndefinedTable:
        raise UserError("no marts have been built yet: run the DAG build_planner_marts") from None
    return tuple(dict.fromkeys([*PLANNER_SYMBOLS, *(row[0] for row in rows)]))


def _watermark(connection: psycopg.Connection[Any], as_of: datetime | None) -> datetime | None:
    moment = datetime.now(UTC) if as_of is None else _utc("as_of", as_of)
    row = connection.execute(
        "select max(as_of) from ops.mart_watermarks where mart = 'planner_features' and as_of <= %s", (moment,)
    ).fetchone()
    found: datetime | None = row[0] if row else None
    if found is None and as_of is None:
        raise UserError("no marts have been built yet: run the DAG build_planner_marts")
    return found.astimezone(UTC) if found else None


_QUERY = """
select asked.n::integer, features.n::integer, newest.bucket_at, {value}, newest.verified_fraction::double precision,
  newest.known_at
from unnest({symbols}::text[]) with ordinality as asked (symbol, n)
cross join lateral (
  select distinct on (v.bucket_at, v.feature)
    v.bucket_at, v.feature, v.value, v.verified_fraction, v.known_at, v.is_tombstone
  from marts.planner_features as v
  where v.symbol = asked.symbol and v.granularity = {granularity} and v.bucket_at >= {start} and v.bucket_at < {stop}
    and v.known_at <= {as_of}
  order by v.bucket_at desc, v.feature desc, v.known_at desc
) as newest
inner join unnest({features}::text[]) with ordinality as features (feature, n) on features.feature = newest.feature
where not newest.is_tombstone
"""


def _read(
    connection: psycopg.Connection[Any],
    symbols: tuple[str, ...],
    features: list[Feature],
    granularity: str,
    start: datetime,
    stop: datetime,
    as_of: datetime | None,
    exact: bool,
) -> _Values:
    step = _step(granularity)
    shape = (len(symbols), max((stop - start) // step, 0), len(features))
    value = np.full(shape, None if exact else np.nan, dtype=object if exact else np.float64)
    found = _Values(value, np.zeros(shape[:2], np.int64), np.ones(shape[:2]))
    # Values that all symbols share are stored once.
    for scope in ("symbol", "global"):
        chosen = [n for n, feature in enumerate(features) if feature.scope == scope]
        if chosen and as_of is not None:
            stored = list(symbols) if scope == "symbol" else ["global"]
            query = sql.SQL(_QUERY).format(
                value=sql.SQL("newest.value::double precision" if not exact else "newest.value"),
                symbols=sql.Literal(stored),
                features=sql.Literal([features[n].name for n in chosen]),
                granularity=sql.Literal(granularity),
                start=sql.Literal(start),
                stop=sql.Literal(stop),
                as_of=sql.Literal(as_of),
            )
            records = _records(connection, query, exact)
            _fill(found, records, start, step, chosen, shared=scope == "global")
    return found


def _records(connection: psycopg.Connection[Any], query: sql.Composed, exact: bool) -> tuple[Any, ...]:
    if exact:
        rows = connection.execute(query).fetchall()
        symbol, feature, bucket, value, verified, known = zip(*rows, strict=True) if rows else ((),) * 6
        moments = [np.array([_microseconds(m) for m in column], np.int64) for column in (bucket, known)]
        values = np.empty(len(value), dtype=object)
        values[:] = value
        return (
            np.array(symbol, np.int64),
            np.array(feature, np.int64),
            moments[0],
            values,
            np.array(verified, np.float64),
            moments[1],
        )
    body = bytearray()
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("copy ({}) to stdout (format binary)").format(query)) as copy,
    ):
        for chunk in copy:
            body += chunk
    records = np.frombuffer(memoryview(body)[_COPY_HEADER : len(body) - _COPY_TRAILER], dtype=_RECORD)
    return (
        records["symbol"].astype(np.int64),
        records["feature"].astype(np.int64),
        records["bucket"].astype(np.int64) + _PG_EPOCH_US,
        records["value"].astype(np.float64),
        records["verified"].astype(np.float64),
        records["known"].astype(np.int64) + _PG_EPOCH_US,
    )


def _fill(
    found: _Values,
    records: tuple[Any, ...],
    start: datetime,
    step: timedelta,
    columns: list[int],
    *,
    shared: bool,
) -> None:
    symbol, feature, bucket_us, value, verified, known_us = records
    rows = (bucket_us - _microseconds(start)) // (step // timedelta(microseconds=1))
    slots = np.array(columns, np.int64)[feature - 1]
    targets = range(found.value.shape[0]) if shared else [symbol - 1]
    for target in targets:
        found.value[target, rows, slots] = value
        np.maximum.at(found.known_us, (target, rows), known_us)
        np.minimum.at(found.verified, (target, rows), verified)


def _carry(daily: _Values, first_day: datetime, start: datetime, stop: datetime, step: timedelta) -> _Values:
    count = (stop - start) // step
    ends = [start + (n + 1) * step for n in range(count)]
    day = np.array([(floor(end, DAY) - DAY - first_day) // DAY for end in ends], np.int64)
    return _Values(daily.value[:, day, :], daily.known_us[:, day], daily.verified[:, day])


def _beside(left: _Values, right: _Values) -> _Values:
    return _Values(
        np.concatenate([left.value, right.value], axis=2),
        np.maximum(left.known_us, right.known_us),
        np.minimum(left.verified, right.verified),
    )


def _microseconds(moment: datetime) -> int:
    return (moment - _PG_EPOCH) // timedelta(microseconds=1) + _PG_EPOCH_US


def _frame(
    columns: list[str],
    symbols: tuple[str, ...],
    present: Any,
    table: Any,
    found: _Values,
    start: datetime,
    step: timedelta,
    as_of: datetime | None,
    output: str,
) -> pd.DataFrame | pa.Table:
    buckets = found.known_us.shape[1] or 1
    symbol_codes, bucket_codes = present // buckets, present % buckets
    bucket_us = _microseconds(start) + bucket_codes * (step // timedelta(microseconds=1))
    known_us = found.known_us.reshape(-1)[present]
    verified = found.verified.reshape(-1)[present]
    stamp = as_of.isoformat() if as_of else ""
    if output == "arrow":
        import pyarrow as pa

        moment = pa.timestamp("us", tz="UTC")
        dictionary = pa.DictionaryArray.from_arrays(pa.array(symbol_codes, pa.int32()), pa.array(symbols, pa.string()))
        arrays = [dictionary.cast(pa.string()), pa.array(bucket_us, moment)]
        arrays += [pa.array(table[:, n], pa.float64(), from_pandas=True) for n in range(len(columns))]
        arrays += [pa.array(known_us, moment), pa.array(verified, pa.float64())]
        names = ["symbol", "bucket_at", *columns, "known_at", "verified_fraction"]
        return pa.table(arrays, names=names).replace_schema_metadata({"as_of": stamp})
    import pandas as pd

    index = pd.MultiIndex.from_arrays(
        [
            pd.Categorical.from_codes(symbol_codes, categories=list(symbols)).astype(object),
            pd.to_datetime(bucket_us, unit="us", utc=True).as_unit("us"),
        ],
        names=["symbol", "bucket_at"],
    )
    frame = pd.DataFrame(table, index=index, columns=columns)
    frame["known_at"] = pd.to_datetime(known_us, unit="us", utc=True).as_unit("us")
    frame["verified_fraction"] = [Decimal(repr(v)) for v in verified.tolist()] if table.dtype == object else verified
    frame.attrs["as_of"] = stamp
    return frame
