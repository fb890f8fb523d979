from __future__ import annotations

import pytest
from tests.support import ROOT

from coinswarm.connections import Connection, from_fields
from coinswarm.errors import UserError
from coinswarm.local import airflow_settings
from coinswarm.sources import SOURCES

pytestmark = pytest.mark.unit

SECTION = airflow_settings.read(ROOT / "airflow_settings.yaml")
SERVERS = {
    conn_id: Connection(conn_id, host="127.0.0.1", port=1, login="user", password="generated", schema="somewhere")
    for conn_id in (
        "pg_ingest",
        "pg_transform",
        "pg_planner",
        "pg_auditor",
        "s3_lake",
        "redis_ticks",
        "redis_committee",
    )
}


def test_every_source_has_its_connection_and_pool_and_nothing_else_does() -> None:
    connections = {entry["conn_id"] for entry in SECTION["connections"] if entry["conn_id"].startswith("http_")}
    pools = {pool["pool_name"] for pool in SECTION["pools"] if pool["pool_name"].startswith("api__")}
    assert connections == {spec.connection_id for spec in SOURCES.values()}
    assert pools == {spec.pool for spec in SOURCES.values()}


def test_one_dbt_build_at_a_time() -> None:
    assert airflow_settings.pools(SECTION)["dbt"]["slots"] == 1


def test_settings_file_holds_no_secret() -> None:
    assert [entry["conn_id"] for entry in SECTION["connections"] if "conn_password" in entry] == []


def test_connections_when_rendered_then_have_the_servers_of_the_installation() -> None:
    rendered = airflow_settings.connections(SECTION, SERVERS, api_keys={"fred": "key"})
    found = from_fields("pg_ingest", rendered["pg_ingest"])
    assert (found.host, found.port, found.login, found.password) == ("127.0.0.1", 1, "user", "generated")
    assert rendered["http_fred"] == {"conn_type": "http", "password": "key"}
    assert rendered["http_binance"] == {"conn_type": "http"}


def test_connections_when_sandboxed_then_no_provider_is_left_out() -> None:
    rendered = airflow_settings.connections(SECTION, SERVERS, provider_host="http://127.0.0.1:9")
    hosts = {conn_id: fields.get("host") for conn_id, fields in rendered.items() if conn_id.startswith("http_")}
    assert set(hosts.values()) == {"http://127.0.0.1:9"}


def test_connections_when_a_server_is_missing_then_its_name_is_told() -> None:
    with pytest.raises(UserError, match="redis_ticks"):
        airflow_settings.connections(SECTION, {k: v for k, v in SERVERS.items() if k != "redis_ticks"})
