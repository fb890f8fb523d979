"""Days of trades leave raw: only whole, only if the lake has them, and the ledger can tell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from tests.integration.conftest import Store
from tests.integration.ingest.ticks import Ticks, recent_minute, trade, trades

from coinswarm.batches import Batch
from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record
from coinswarm.errors import IntegrityError
from coinswarm.ingest.archive import archive
from coinswarm.ingest.retention import expire_trades, oldest_kept
from coinswarm.sources.exchanges._trades import sizes
from coinswarm.storage import database, ledger
from coinswarm.storage.lake import Lake
from coinswarm.storage.publish import Published, publish
from coinswarm.storage.staging import Incoming, stage
from coinswarm.timeframes import Window

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[Any, ...]]]
DAY = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def published(store: Store, day: datetime, *ids: str, price: str = "100") -> Published:
    """A batch of trades of a day, at noon."""
    batch = Batch("binance", "trades_stream", "trades", "", Window(day, day + DAY), "archive_ticks", uuid4().hex)
    values = {"trade_kind": "trade", "price": Decimal(price), "side": "buy"}
    values |= sizes("binance", "BTC-USDT", Decimal(1), Decimal(price))
    records = [Record("BTC-USDT", day + timedelta(hours=12), {"trade_id": trade_id, **values}) for trade_id in ids]
    with database.connect(store.warehouse.ingest, autocommit=True) as connection:
        stage(connection, dataset_named("trades"), batch, [Incoming(r, r.event_at, "landing/test") for r in records])
        return publish(connection, Lake(store.lake), batch)


def checked(store: Store) -> list[str]:
    with database.connect(store.warehouse.auditor) as connection:
        report = ledger.check(connection, dataset="trades", lake=Lake(store.lake))
    return [str(finding) for finding in report.findings]


def test_expire_when_days_are_old_then_they_leave_and_the_ledger_accounts_for_them(
    store: Store, ticks: Ticks, query: Query
) -> None:
    first, second, third = (TODAY - days * DAY for days in (11, 10, 9))
    published(store, first, "1", "2")
    published(store, first, "3")
    # A venue restated two trades: one on the same day, one a day later.
    published(store, first, "2", price="101")
    published(store, second, "3", "4")
    published(store, third, "5")
    published(store, TODAY, "6")
    assert checked(store) == []

    expired = expire_trades(ticks.resolve, now=TODAY - 3 * DAY + timedelta(hours=1))
    assert [(one.day, one.rows, one.batches) for one in expired] == [(first.date(), 4, 3)]
    entries = (
        "SELECT range_start, row_count, key_count, cardinality(batch_ids), expired_by FROM ops.expiries ORDER BY seq"
    )
    # Trade 3 lives on, as it was restated.
    assert query(entries) == [(first, 4, 2, 3, "ingest")]
    assert query("SELECT trade_id FROM raw.trades_current ORDER BY 1") == [("3",), ("4",), ("5",), ("6",)]
    assert checked(store) == []

    assert [one.day for one in expire_trades(ticks.resolve)] == [second.date(), third.date()]
    assert query("SELECT trade_id FROM raw.trades") == [("6",)]
    assert query("SELECT count(*) FROM ops.batches WHERE dataset = 'trades'") == [(6,)]
    assert checked(store) == []
    assert expire_trades(ticks.resolve) == []


def test_archive_when_a_trade_is_of_a_day_that_left_then_quarantined_and_the_day_stays_away(
    store: Store, ticks: Ticks, query: Query
) -> None:
    with database.connect(store.warehouse.ingest, autocommit=True) as connection:
        kept = oldest_kept(connection, datetime.now(UTC))
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has expired"):
            connection.execute("SELECT ops.ensure_partitions('trades', ARRAY[%s::timestamptz])", [TODAY - 9 * DAY])
    ticks.write("trades:BTC-USDT", trade(71, kept - timedelta(seconds=1)), *trades([72], recent_minute()))
    done = archive(ticks.resolve)
    assert (done.inserted, done.unfit) == (1, 1)
    assert query("SELECT reason FROM quarantine.records WHERE dataset = 'trades'") == [("older than what raw keeps",)]


@pytest.mark.parametrize("days", [0, None])
def test_expire_when_asked_for_a_day_that_is_too_young_then_refused(store: Store, days: int | None) -> None:
    published(store, TODAY, "81")
    with database.connect(store.warehouse.ingest, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="not older"):
            connection.execute("SELECT ops.expire_partition('trades', %s, %s)", [TODAY.date(), days])
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="no daily partitions"):
            connection.execute("SELECT ops.expire_partition('ohlcv', %s, 7)", [TODAY.date() - 30 * DAY])


@pytest.mark.parametrize("role", ["transform", "planner", "auditor"])
def test_expire_when_another_role_asks_then_refused(store: Store, role: str) -> None:
    with (
        database.connect(getattr(store.warehouse, role), autocommit=True) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT ops.expire_partition('trades', %s, 1)", [TODAY.date() - 30 * DAY])


def test_expire_when_rows_are_not_what_the_ledger_says_then_the_day_stays(store: Store, ticks: Ticks) -> None:
    day = TODAY - 20 * DAY
    published(store, day, "91", "92")
    with database.connect(store.warehouse.owner, autocommit=True) as owner:
        part = f"raw.trades_{day:%Y%m%d}"
        for trigger in ("DISABLE", "ENABLE ALWAYS"):
            if trigger == "ENABLE ALWAYS":
                owner.execute(f"UPDATE {part} SET price = price + 1 WHERE trade_id = '91'")
            for name in ("forbid_change", "forbid_change_of_row"):
                owner.execute(f"ALTER TABLE {part} {trigger} TRIGGER {name}")
    with pytest.raises(IntegrityError, match="not what the ledger says"):
        expire_trades(ticks.resolve)
    assert checked(store) != []
    with database.connect(store.warehouse.owner, autocommit=True) as owner:
        for trigger in ("DISABLE", "ENABLE ALWAYS"):
            if trigger == "ENABLE ALWAYS":
                owner.execute(f"UPDATE {part} SET price = price - 1 WHERE trade_id = '91'")
            for name in ("forbid_change", "forbid_change_of_row"):
                owner.execute(f"ALTER TABLE {part} {trigger} TRIGGER {name}")
    assert [one.rows for one in expire_trades(ticks.resolve)] == [2]
    assert checked(store) == []


def test_expire_when_the_lake_lacks_a_file_then_the_day_stays(store: Store, ticks: Ticks, query: Query) -> None:
    day = TODAY - 21 * DAY
    published(store, day, "95")
    ((key,),) = query(
        "SELECT object_key FROM ops.lake_objects JOIN ops.batches USING (batch_id) WHERE window_start = %s", day
    )
    lake = Lake(store.lake)
    body = lake.get(key)
    lake._client.delete_object(Bucket=lake.bucket, Key=key)
    with pytest.raises(IntegrityError, match="the lake lacks"):
        expire_trades(ticks.resolve)
    lake.put(key, body)
    assert [one.rows for one in expire_trades(ticks.resolve)] == [1]


FORGERIES = {
    "its entry": "UPDATE ops.expiries SET row_count = row_count + 1, key_count = key_count + 1 WHERE seq = 1",
    "an entry for rows that somebody removed": (
        "INSERT INTO ops.expiries SELECT 'trades', '2020-01-01', '2020-01-02', ARRAY[batch_id], 1, 1, 'ingest', now(),"
        " 99, '', '' FROM ops.batches WHERE dataset = 'trades' AND window_start > now() - interval '2 days' LIMIT 1"
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_check_when_an_expiry_is_forged_then_it_is_found(store: Store, forgery: str) -> None:
    published(store, TODAY, uuid4().hex)
    with database.connect(store.warehouse.owner) as owner:
        for name in ("forbid_change", "forbid_change_of_row"):
            owner.execute(f"ALTER TABLE ops.expiries DISABLE TRIGGER {name}")
        owner.execute(FORGERIES[forgery])
        findings = ledger._expiry_findings(owner, dataset_named("trades"))
        owner.rollback()
    assert any("expiry of" in str(finding) for finding in findings)
