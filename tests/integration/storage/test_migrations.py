"""The tables are what the declarations say."""

from __future__ import annotations

import secrets
from dataclasses import replace

import psycopg
import pytest

from coinswarm.connections import Connection
from coinswarm.datasets import AFTER, BEFORE, STORED, Column
from coinswarm.errors import StoreUnavailable
from coinswarm.local import postgres
from coinswarm.registry import INSTRUMENTS, feeders
from coinswarm.storage import reference
from coinswarm.storage.database import connect
from coinswarm.storage.migrate import MIGRATIONS, migrate

pytestmark = pytest.mark.integration

TYPES = {"timestamptz": "timestamp with time zone"}
SPECIAL = {"batch_id": "uuid", "record_hash": "bytea"}
Shape = list[tuple[str, str, bool]]


def _shape(conn, table: str) -> Shape:
    rows = conn.execute(
        "SELECT attname::text, format_type(atttypid, NULL), attnotnull FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
        [table],
    )
    return rows.fetchall()


def _declared(columns: tuple[Column, ...], required: set[str]) -> Shape:
    return [(c.name, SPECIAL.get(c.name, TYPES.get(c.kind.value, c.kind.value)), c.name in required) for c in columns]


@pytest.mark.parametrize("dataset", STORED, ids=lambda dataset: dataset.name)
def test_raw_table_when_compared_with_its_declaration_then_columns_agree(owner, dataset):
    # Own columns are NOT NULL only in keys: a tombstone has no values. A check says so for the others.
    required = {c.name for c in (*BEFORE, *AFTER) if not c.nullable}
    required |= {c.name for c in dataset.columns if c.name in dataset.key and not c.nullable}
    declared = _declared((*BEFORE, *dataset.columns, *AFTER), required)
    found = _shape(owner, f"raw.{dataset.name}")
    # A column that was added by a later migration stands at the end of the table; the order of the others is declared.
    own = [column for column in found if column[0] in dataset.column_names]
    assert own == [column for column in declared if column[0] in dataset.column_names]
    assert [c for c in found if c not in own] == [c for c in declared if c[0] not in dataset.column_names]

    staged = {name: (kind, required) for name, kind, required in _shape(owner, f"staging.{dataset.name}")}
    assert staged.pop("row_no") == ("bigint", True)
    assert staged.pop("landing_key") == ("text", False)
    assert set(staged) == {name for name, _, _ in found} - {"known_at"}
    assert {name: kind for name, (kind, _) in staged.items()} == {n: k for n, k, _ in found if n != "known_at"}


@pytest.mark.parametrize("dataset", STORED, ids=lambda dataset: dataset.name)
def test_raw_table_when_a_required_value_is_missing_then_only_a_tombstone_may_lack_it(owner, dataset):
    (checks,) = owner.execute(
        "SELECT coalesce(string_agg(pg_get_constraintdef(oid), ' '), '') FROM pg_constraint"
        " WHERE conrelid = %s::regclass AND contype = 'c'",
        [f"raw.{dataset.name}"],
    ).fetchone()
    needed = [c.name for c in dataset.columns if not c.nullable and c.name not in dataset.key]
    assert (f"num_nulls({', '.join(needed)}) = 0" in checks and "is_tombstone OR" in checks) or not needed
    key, *partition = owner.execute(
        "SELECT natural_key, partition_by, partition_every FROM ops.datasets WHERE dataset = %s", [dataset.name]
    ).fetchone()
    assert (tuple(key), *partition) == (dataset.key, dataset.partition_by, dataset.partition_every)


def test_datasets_table_when_read_then_lists_exactly_the_stored_ones(owner):
    rows = owner.execute("SELECT dataset FROM ops.datasets").fetchall()
    assert {name for (name,) in rows} == {dataset.name for dataset in STORED}


def test_migrate_when_run_twice_then_second_applies_nothing(pg_server):
    name = f"fresh_{secrets.token_hex(4)}"
    target = replace(pg_server, schema=name)
    try:
        assert migrate(target.dsn).count("Applied:") == len(list(MIGRATIONS.glob("*.sql")))
        assert "Applied:" not in migrate(target.dsn)
        with connect(target) as conn:
            assert not conn.execute(
                "SELECT has_database_privilege('public', current_database(), 'CONNECT')"
            ).fetchone()[0]
    finally:
        postgres.drop_database(pg_server, name)


def test_migrate_when_the_server_is_away_then_error_has_no_password():
    with pytest.raises(StoreUnavailable) as failed:
        migrate("postgresql://postgres:sesame-open@127.0.0.1:1/warehouse")
    assert "sesame-open" not in str(failed.value)


def test_connect_when_the_login_is_wrong_then_error_has_no_password(warehouse):
    with pytest.raises(StoreUnavailable) as failed:
        connect(replace(warehouse.ingest, password="sesame-open"))
    assert "sesame-open" not in str(failed.value)
    assert isinstance(warehouse.ingest, Connection)


@pytest.mark.parametrize("migration", sorted(MIGRATIONS.glob("*.sql")), ids=lambda path: path.stem)
def test_migration_when_taken_back_then_refuses(warehouse, migration):
    down = migration.read_text().split("-- migrate:down")[1]
    with connect(warehouse.owner) as conn, pytest.raises(psycopg.errors.RaiseException, match="append-only"):
        conn.execute(down)


def test_equip_when_a_column_is_added_then_old_hashes_stay_and_readers_show_it(warehouse, lake):
    from tests.integration.storage.batches import bar, published

    from coinswarm.storage.ledger import verify

    with connect(warehouse.ingest, autocommit=True) as conn:
        published(conn, lake, [bar("1", symbol="BEFORE")])
    with connect(warehouse.owner, autocommit=True) as conn:
        conn.execute("ALTER TABLE raw.ohlcv ADD COLUMN settlement numeric")
        conn.execute("ALTER TABLE staging.ohlcv ADD COLUMN settlement numeric")
        conn.execute("SELECT ops.equip_dataset('ohlcv')")
        assert conn.execute("SELECT settlement FROM raw.ohlcv_current").fetchall() == [(None,)]
        assert conn.execute("SELECT settlement FROM raw.ohlcv_asof('infinity')").fetchall() == [(None,)]
    with connect(warehouse.ingest, autocommit=True) as conn:
        assert published(conn, lake, [bar("1", symbol="BEFORE")]).unchanged == 1
    with connect(warehouse.auditor, autocommit=True) as conn:
        assert verify(conn).passed


def test_reference_when_loaded_twice_then_tables_equal_the_registry(owner):
    for _ in range(2):
        counts = reference.load(owner)
    assert counts == {"instruments": len(list(INSTRUMENTS)), "planner_symbols": len(feeders())}
    (stored,) = owner.execute("SELECT count(*) FROM ops.instruments").fetchone()
    assert stored == counts["instruments"]
