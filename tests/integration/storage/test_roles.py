"""Who may do what, and that nobody may change what was stored."""

from __future__ import annotations

import psycopg
import pytest
from tests.integration.storage.batches import NOON, bar, published

from coinswarm.datasets import STORED
from coinswarm.storage.database import connect

pytestmark = pytest.mark.integration

ROLES = ("owner", "ingest", "transform", "planner", "auditor")
LEDGERS = (
    "ops.batches",
    "ops.batch_steps",
    "ops.lake_objects",
    "ops.quality_results",
    "ops.quality_scores",
    "ops.mart_runs",
    "ops.mart_watermarks",
    "ops.expiries",
    "ops.stream_sessions",
    "ops.stream_gaps",
    "ops.stream_verdicts",
    "quarantine.records",
)
# A column of those tables that have no batch_id.
COLUMN = {
    "ops.lake_objects": "source",
    "ops.mart_runs": "node",
    "ops.mart_watermarks": "mart",
    "ops.expiries": "dataset",
}
REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.RestrictViolation)


@pytest.fixture(scope="module", autouse=True)
def _one_row(warehouse, lake):
    with connect(warehouse.ingest, autocommit=True) as conn:
        published(conn, lake, [bar("1")])


@pytest.mark.parametrize("role", ROLES)
def test_raw_and_ledger_when_anyone_changes_them_then_refused(warehouse, role):
    targets = [*LEDGERS, "raw.ohlcv_2026", *(f"raw.{dataset.name}" for dataset in STORED)]
    with connect(getattr(warehouse, role), autocommit=True) as conn:
        for table in targets:
            column = COLUMN.get(table, "session_id" if table.startswith("ops.stream") else "batch_id")
            for statement in (
                f"UPDATE {table} SET {column} = {column}",
                f"UPDATE {table} SET {column} = {column} WHERE false",
                f"DELETE FROM {table}",
                f"TRUNCATE {table} CASCADE",
            ):
                with pytest.raises(REFUSED):
                    conn.execute(statement)


def test_raw_when_the_superuser_replays_as_a_replica_then_still_refused(warehouse):
    with connect(warehouse.owner, autocommit=True) as conn:
        conn.execute("SET session_replication_role = replica")
        for statement in ("DELETE FROM raw.ohlcv", "UPDATE ops.batches SET seq = 9", "TRUNCATE raw.ohlcv_2026"):
            with pytest.raises(psycopg.errors.RestrictViolation):
                conn.execute(statement)


def test_raw_when_a_row_is_merged_over_another_then_refused(warehouse):
    with connect(warehouse.owner, autocommit=True) as conn, pytest.raises(psycopg.errors.RestrictViolation):
        conn.execute(
            "MERGE INTO raw.ohlcv AS r USING (SELECT 1) AS s ON r.symbol = 'BTC-USDT' WHEN MATCHED THEN DELETE"
        )


# Everything that each role may do, and nothing else: table privileges by schema.
MAY = {
    "ingest": {
        "staging": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "raw": {"SELECT", "INSERT"},
        "quarantine": {"SELECT", "INSERT"},
        "ops": {"SELECT", "INSERT"},
    },
    "transform": {"raw": {"SELECT"}, "ops": {"SELECT", "INSERT"}},
    "planner": {"ops": {"SELECT"}},
    "auditor": {schema: {"SELECT"} for schema in ("staging", "raw", "quarantine", "ops")},
}


@pytest.mark.parametrize("role", MAY)
def test_grants_when_listed_then_are_the_least_that_the_role_needs(owner, role):
    found: dict[str, set[str]] = {}
    rows = owner.execute(
        "SELECT n.nspname, a.privilege_type FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace,"
        " LATERAL aclexplode(c.relacl) AS a WHERE a.grantee = %s::regrole",
        [role],
    )
    for schema, privilege in rows.fetchall():
        found.setdefault(schema, set()).add(privilege)
    assert found == MAY[role]


def test_grants_when_ops_is_listed_then_only_the_writer_of_a_ledger_may_insert(owner):
    rows = owner.execute(
        "SELECT a.grantee::regrole::text, array_agg(c.relname::text ORDER BY 1) FROM pg_class AS c,"
        " LATERAL aclexplode(c.relacl) AS a WHERE c.relnamespace = 'ops'::regnamespace"
        " AND a.privilege_type = 'INSERT' AND a.grantee <> c.relowner GROUP BY 1"
    )
    assert {role: set(tables) for role, tables in rows.fetchall()} == {
        "ingest": {
            *("batches", "batch_steps", "lake_objects", "quality_results", "quality_scores"),
            *("stream_sessions", "stream_gaps", "stream_verdicts"),
        },
        "transform": {"mart_runs", "mart_watermarks"},
    }


def test_grants_when_public_is_asked_for_then_has_none(owner):
    for catalog, acl in (("pg_class", "relacl"), ("pg_proc", "proacl"), ("pg_namespace", "nspacl")):
        schema = {"pg_class": "relnamespace", "pg_proc": "pronamespace", "pg_namespace": "oid"}[catalog]
        default = f"coalesce({acl}, acldefault('f', 10))" if catalog == "pg_proc" else acl
        found = owner.execute(
            f"SELECT count(*) FROM {catalog} AS c, LATERAL aclexplode({default}) AS a WHERE a.grantee = 0"
            f" AND {schema}::regnamespace::text = ANY ('{{staging,raw,quarantine,ops,marts,audit,public}}')"
        ).fetchone()
        assert found == (0,), catalog


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("ingest", "CREATE TABLE raw.mine (a int)"),
        ("ingest", "DROP TABLE raw.ohlcv"),
        ("ingest", "ALTER TABLE raw.ohlcv DISABLE TRIGGER ALL"),
        ("ingest", "SELECT * FROM marts.anything"),
        ("ingest", "INSERT INTO raw.ohlcv_2026 SELECT * FROM raw.ohlcv"),
        ("transform", "SELECT * FROM staging.ohlcv"),
        ("transform", "INSERT INTO raw.ohlcv SELECT * FROM raw.ohlcv"),
        ("transform", "SELECT ops.ensure_partitions('ohlcv', ARRAY[now()])"),
        ("planner", "SELECT * FROM raw.ohlcv"),
        ("planner", "SELECT * FROM raw.ohlcv_asof(now())"),
        ("planner", "SELECT * FROM ops.batches"),
        ("planner", "CREATE TABLE public.mine (a int)"),
        ("auditor", "INSERT INTO ops.batch_steps (batch_id, step) VALUES (gen_random_uuid(), 'x')"),
    ],
)
def test_role_when_it_oversteps_then_refused(warehouse, role, statement):
    with connect(getattr(warehouse, role), autocommit=True) as conn, pytest.raises(psycopg.Error) as refused:
        conn.execute(statement)
    assert isinstance(refused.value, psycopg.errors.InsufficientPrivilege)


def test_marts_when_transform_creates_one_then_planner_reads_it_and_nobody_changes_it(warehouse):
    with connect(warehouse.transform, autocommit=True) as conn:
        conn.execute("CREATE TABLE marts.sample (a int)")
        conn.execute("SELECT ops.make_append_only('marts.sample')")
        conn.execute("INSERT INTO marts.sample VALUES (1)")
    with connect(warehouse.planner, autocommit=True) as conn:
        assert conn.execute("SELECT a FROM marts.sample").fetchall() == [(1,)]
    for role in ("owner", "transform"):
        with connect(getattr(warehouse, role), autocommit=True) as conn, pytest.raises(REFUSED):
            conn.execute("DELETE FROM marts.sample")


@pytest.mark.parametrize("role", ROLES[1:])
def test_safe_now_when_any_role_asks_then_answers(warehouse, role):
    with connect(getattr(warehouse, role), autocommit=True) as conn:
        assert conn.execute("SELECT ops.safe_now() > %s", [NOON]).fetchone() == (True,)


@pytest.mark.parametrize(
    ("dataset", "moments"),
    [
        ("ohlcv; DROP TABLE raw.ohlcv", "ARRAY[now()]"),
        ("nothing", "ARRAY[now()]"),
        ("ohlcv", "ARRAY['infinity'::timestamptz]"),
        ("ohlcv", "ARRAY['1899-12-31T00:00Z'::timestamptz]"),
        ("ohlcv", "ARRAY['2100-01-01T00:00Z'::timestamptz]"),
        ("ohlcv", "ARRAY[NULL::timestamptz]"),
    ],
)
def test_ensure_partitions_when_arguments_are_hostile_then_refused(ingest, dataset, moments):
    with pytest.raises(psycopg.errors.InvalidParameterValue):
        ingest.execute(f"SELECT ops.ensure_partitions(%s, {moments})", [dataset])
