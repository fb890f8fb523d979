from __future__ import annotations

import pytest
from tests.integration.conftest import Store
from tests.integration.ingest.ticks import Ticks

from coinswarm.connections import Connection


@pytest.fixture(scope="module")
def ticks(store: Store, redis_connection: Connection) -> Ticks:
    known = store.resolver("http://127.0.0.1:9")
    return Ticks(redis_connection, lambda conn_id: redis_connection if conn_id == "redis_ticks" else known(conn_id))
