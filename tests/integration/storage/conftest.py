from __future__ import annotations

from collections.abc import Iterator

import pytest

from coinswarm.connections import Connection
from coinswarm.storage.database import Session, connect
from coinswarm.storage.lake import Lake


@pytest.fixture(scope="module")
def lake(lake_connection: Connection) -> Lake:
    return Lake(lake_connection)


@pytest.fixture
def ingest(warehouse) -> Iterator[Session]:
    with connect(warehouse.ingest, autocommit=True) as conn:
        yield conn


@pytest.fixture
def auditor(warehouse) -> Iterator[Session]:
    with connect(warehouse.auditor, autocommit=True) as conn:
        yield conn


@pytest.fixture
def owner(warehouse) -> Iterator[Session]:
    with connect(warehouse.owner, autocommit=True) as conn:
        yield conn
