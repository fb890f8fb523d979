"""The whole store behind a resolver of connections, with a stand-in provider in place of the internet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from tests.conftest import Warehouse

from coinswarm.connections import Connection, Resolver
from coinswarm.errors import UserError
from coinswarm.sources import SOURCES


@dataclass(frozen=True)
class Store:
    """Warehouse and lake of a test module."""

    warehouse: Warehouse
    lake: Connection

    def resolver(self, provider_url: str) -> Resolver:
        """Connections as a task sees them, every provider at `provider_url`."""
        known = {
            "pg_ingest": self.warehouse.ingest,
            "pg_transform": self.warehouse.transform,
            "pg_planner": self.warehouse.planner,
            "pg_auditor": self.warehouse.auditor,
            "s3_lake": self.lake,
            **{
                spec.connection_id: Connection(
                    spec.connection_id, host=provider_url, extra={"requests_per_second": 200}
                )
                for spec in SOURCES.values()
            },
        }

        def resolve(conn_id: str) -> Connection:
            if conn_id not in known:
                raise UserError(f"connection {conn_id!r} is not defined")
            return known[conn_id]

        return resolve


@pytest.fixture(scope="module")
def store(warehouse: Warehouse, lake_connection: Connection) -> Store:
    """A migrated warehouse with the registry loaded, and an empty lake."""
    from coinswarm.storage import database, reference

    with database.connect(warehouse.owner) as connection:
        reference.load(connection)
    return Store(warehouse, lake_connection)


@pytest.fixture(scope="module")
def query(warehouse: Warehouse) -> Callable[..., list[tuple[object, ...]]]:
    """Run SQL as the auditor and return all rows."""
    from coinswarm.storage import database

    def run(statement: str, *parameters: object) -> list[tuple[object, ...]]:
        with database.connect(warehouse.auditor) as connection:
            return connection.execute(statement, parameters).fetchall()

    return run
