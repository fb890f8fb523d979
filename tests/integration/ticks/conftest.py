"""An exchange of the test's own, and a Redis that is empty."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.integration.ticks import exchange as exchanges
from tests.integration.ticks.pumps import client

from coinswarm.connections import Connection


@pytest.fixture
def exchange() -> Iterator[exchanges.Exchange]:
    with exchanges.running() as running:
        yield running


@pytest.fixture
def empty_redis(redis_connection: Connection) -> Connection:
    with client(redis_connection) as redis_client:
        for key in redis_client.scan_iter():
            redis_client.delete(key)
    return redis_connection
