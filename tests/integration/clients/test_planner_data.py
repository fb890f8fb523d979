"""`PlannerData` on a warehouse whose planner_features has versions with known numbers."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import psycopg
import pyarrow as pa
import pytest

from coinswarm.clients.planner import GROUPS, PlannerData
from coinswarm.errors import UserError
from coinswarm.orchestration.marts import build_marts
from coinswarm.storage import reference

pytestmark = pytest.mark.integration

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
START = datetime(2026, 3, 2, tzinfo=UTC)
END = START + 2 * DAY
FIRST = END + 5 * HOUR
SECOND = END + 6 * HOUR
EXACT = Decimal("100000.123456789012345678901234567890")


def append(transform: psycopg.Connection[Any], known_at: datetime, rows: list[tuple[Any, ...]]) -> None:
    """Versions (symbol, granularity, bucket_at, feature, value, verified) of one run; value None is a tombstone."""
    run = uuid4()
    with transform.cursor() as cursor:
        cursor.executemany(
            "insert into marts.planner_features values (%s, %s, %s, %s, %s, %s, %s, %s, %s, sha256(%s))",
            [(*row, row[4] is None, known_at, run, uuid4().bytes) for row in rows],
        )
    transform.execute(
        "insert into ops.mart_watermarks (mart, as_of, run_id, versions) values ('planner_features', %s, %s, %s)",
        (known_at, run, len(rows)),
    )
    transform.commit()


@pytest.fixture(scope="module")
def planner(warehouse: Any, tmp_path_factory: pytest.TempPathFactory) -> PlannerData:
    with psycopg.connect(warehouse.owner.dsn) as owner:
        reference.load(owner)
    # Only the tables are wanted: there is nothing in raw, and the watermark must lie before the rows' own.
    target: Path = tmp_path_factory.mktemp("dbt")
    build_marts(warehouse.transform, as_of=START - 400 * DAY, target_dir=target)
    with psycopg.connect(warehouse.transform.dsn) as transform:
        rows: list[tuple[Any, ...]] = []
        for symbol, base in (("BTC-USD", 100_000), ("ETH-USD", 5_000)):
            for n in range(48):
                at = START + n * HOUR
                rows.append((symbol, "1h", at, "close", Decimal(base + n), Decimal(1)))
                rows.append((symbol, "1h", at, "funding_apr_median", Decimal(n) / 100, Decimal("0.6")))
        rows[0] = (*rows[0][:4], EXACT, Decimal(1))
        for n in range(-1, 2):
            rows.append(("global", "1d", START + n * DAY, "treasury_10y_pct", Decimal(n), Decimal(1)))
        append(transform, FIRST, rows)
        revised = [("BTC-USD", "1h", START + 10 * HOUR, "close", Decimal(7), Decimal(1))]
        revised += [
            ("ETH-USD", "1h", START + 47 * HOUR, feature, None, None) for feature in ("close", "funding_apr_median")
        ]
        append(transform, SECOND, revised)
    return PlannerData(warehouse.planner)


def ask(planner: PlannerData, **changes: Any) -> Any:
    question: dict[str, Any] = {
        "symbols": ["BTC-USD", "ETH-USD"],
        "sources": ["price", "funding"],
        "window_days": 2,
        "granularity": "1h",
        "end": END,
    }
    return planner.get_features(**{**question, **changes})


def as_bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def test_features_when_asked_then_one_row_per_symbol_and_bucket(planner: PlannerData) -> None:
    frame = ask(planner)
    assert list(frame.index.names) == ["symbol", "bucket_at"]
    assert frame.index.is_unique
    assert frame.index.is_monotonic_increasing
    assert len(frame) == 48 + 47
    assert list(frame.columns)[-2:] == ["known_at", "verified_fraction"]
    assert {"close", "funding_apr_median", "funding_apr_binance", "btc_dominance_pct"} <= set(frame.columns)
    row = frame.loc[("BTC-USD", pd.Timestamp(START + 12 * HOUR))]
    assert (row["close"], row["funding_apr_median"], row["verified_fraction"]) == (100_012.0, 0.12, 0.6)
    assert row["known_at"] == pd.Timestamp(FIRST)
    assert np.isnan(row["funding_apr_binance"])
    assert frame["close"].dtype == np.float64


def test_features_when_asked_as_of_before_a_revision_then_answers_byte_for_byte_the_same(planner: PlannerData) -> None:
    early = ask(planner, as_of=FIRST, output="arrow")
    between = ask(planner, as_of=FIRST + timedelta(minutes=30), output="arrow")
    assert as_bytes(early) == as_bytes(between)
    assert early.num_rows == 96
    key = ("BTC-USD", pd.Timestamp(START + 10 * HOUR))
    assert ask(planner, as_of=FIRST).loc[key, "close"] == 100_010.0
    now = ask(planner)
    assert now.loc[key, "close"] == 7.0
    assert now.loc[key, "known_at"] == pd.Timestamp(SECOND)
    assert now.attrs["as_of"] == SECOND.isoformat()
    assert as_bytes(ask(planner, as_of=SECOND, output="arrow")) == as_bytes(ask(planner, output="arrow"))


def test_features_when_a_bucket_was_withdrawn_then_it_is_gone(planner: PlannerData) -> None:
    key = ("ETH-USD", pd.Timestamp(START + 47 * HOUR))
    assert key in ask(planner, as_of=FIRST).index
    assert key not in ask(planner).index


def test_features_when_nothing_was_known_yet_then_no_rows_but_the_same_columns(planner: PlannerData) -> None:
    frame = ask(planner, as_of=START - 300 * DAY, end=END)
    assert len(frame) == 0
    assert list(frame.columns) == list(ask(planner).columns)


def test_daily_feature_when_read_hourly_then_is_that_of_the_last_whole_day(planner: PlannerData) -> None:
    frame = ask(planner, symbols=["BTC-USD"], sources=["macro"])
    values = frame.loc["BTC-USD"]["treasury_10y_pct"]
    # The bucket that ends at midnight is the first to see the day that ends there.
    assert values[pd.Timestamp(START)] == -1.0
    assert values[pd.Timestamp(START + 22 * HOUR)] == -1.0
    assert values[pd.Timestamp(START + 23 * HOUR)] == 0.0
    assert values[pd.Timestamp(START + 46 * HOUR)] == 0.0
    assert values[pd.Timestamp(START + 47 * HOUR)] == 1.0
    daily = ask(planner, symbols=["BTC-USD"], sources=["macro"], granularity="1d")
    assert daily.loc["BTC-USD"]["treasury_10y_pct"].tolist() == [0.0, 1.0]


def test_features_when_asked_exactly_then_digits_are_kept(planner: PlannerData) -> None:
    key = ("BTC-USD", pd.Timestamp(START))
    assert ask(planner, exact=True).loc[key, "close"] == EXACT
    assert ask(planner).loc[key, "close"] == float(EXACT)
    assert ask(planner, exact=True).loc[key, "funding_apr_binance"] is None


def test_arrow_when_compared_with_pandas_then_says_the_same(planner: PlannerData) -> None:
    table = ask(planner, output="arrow")
    frame = ask(planner).reset_index()
    assert table.column_names == list(frame.columns)
    assert table["symbol"].to_pylist() == frame["symbol"].tolist()
    assert table["close"].to_pylist() == frame["close"].tolist()
    assert table["funding_apr_binance"].null_count == table.num_rows
    assert table["known_at"].to_pylist() == [moment.to_pydatetime() for moment in frame["known_at"]]
    assert table.schema.metadata[b"as_of"].decode() == SECOND.isoformat()


def test_symbols_when_given_in_any_order_or_twice_then_the_answer_is_the_same(planner: PlannerData) -> None:
    pd.testing.assert_frame_equal(
        ask(planner, symbols=["ETH-USD", "BTC-USD", "ETH-USD"], sources=["funding", "price"]), ask(planner)
    )


def test_window_when_end_is_within_a_bucket_then_includes_it(planner: PlannerData) -> None:
    frame = ask(planner, symbols=["BTC-USD"], end=START + 30 * HOUR + timedelta(minutes=1), window_days=1)
    buckets = frame.loc["BTC-USD"].index
    assert (buckets[0], buckets[-1]) == (pd.Timestamp(START + 7 * HOUR), pd.Timestamp(START + 30 * HOUR))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"symbols": ["DOGE-USD"]}, r"unknown symbol 'DOGE-USD'; known: .*BTC-USD.*ETH-USD"),
        ({"symbols": ["'; drop table marts.planner_features; --"]}, "unknown symbol"),
        ({"symbols": ["x" * 10_000]}, r"unknown symbol 'x{40}'; known"),
        ({"symbols": []}, "no symbol given; known"),
        ({"sources": ["tweets"]}, f"unknown source 'tweets'; known: {', '.join(GROUPS)}"),
        ({"granularity": "5m"}, "unknown granularity '5m'; known: 1h, 4h, 1d"),
        ({"window_days": 0}, "window_days"),
        ({"window_days": 1_000_000}, "window_days"),
        ({"output": "csv"}, "output 'csv'"),
        ({"end": datetime(2026, 3, 4)}, "end needs a time zone"),
        ({"as_of": datetime(2026, 3, 4)}, "as_of needs a time zone"),
    ],
)
def test_features_when_asked_wrongly_then_says_what_exists(
    planner: PlannerData, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        ask(planner, **changes)


def test_features_when_no_mart_exists_then_says_so(pg_server: Any) -> None:
    with pytest.raises(UserError, match="no marts have been built yet"):
        ask(PlannerData(pg_server.dsn))


def test_catalog_when_listed_then_groups_and_symbols_are_those_of_the_registry(planner: PlannerData) -> None:
    features = planner.features()
    assert {feature.group for feature in features} == set(GROUPS)
    assert len({feature.name for feature in features}) == len(features)
    assert {"BTC-USD", "ETH-BTC"} <= set(planner.symbols())
