"""Real servers for the tests, and the rules every test obeys: one tier marker, no socket in unit tests, no internet."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import pytest_socket
from xdist.scheduler import LoadFileScheduling

# `from tests.conftest import Warehouse` must give this module, not run it again.
sys.modules.setdefault("tests.conftest", sys.modules[__name__])

# Before anything imports Airflow, dbt or Great Expectations: no folder in $HOME, no telemetry.
_HOME = Path(tempfile.mkdtemp(prefix="coinswarm-tests-"))
_HOME.chmod(0o711)
os.environ.setdefault("AIRFLOW_HOME", str(_HOME / "airflow"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
os.environ.setdefault("AIRFLOW__USAGE_DATA_COLLECTION__ENABLED", "False")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
os.environ.setdefault("DO_NOT_TRACK", "1")

from coinswarm.connections import Connection  # noqa: E402
from coinswarm.local import postgres, s3, servers  # noqa: E402

# A busy machine is not a bug: no example is judged by its duration.
hypothesis.settings.register_profile("coinswarm", deadline=None)
hypothesis.settings.load_profile("coinswarm")

TIERS = ("unit", "contract", "dags", "dbt", "integration", "e2e")
ROLES = ("ingest", "transform", "planner", "auditor")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tiers = [tier for tier in TIERS if item.get_closest_marker(tier)]
        if len(tiers) != 1:
            raise pytest.UsageError(
                f"{item.nodeid} needs exactly one tier marker of {', '.join(TIERS)}; it has {tiers}"
            )


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling | None:
    """With `--dist loadfile`, files that need the whole platform go to one worker: there is one platform at a time."""
    return _OnePlatform(config, log) if config.getvalue("dist") == "loadfile" else None


class _OnePlatform(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "platform" if file.startswith("tests/e2e/") or file.endswith("/test_local_platform.py") else file


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("unit"):
        pytest_socket.disable_socket(allow_unix_socket=True)
    else:
        pytest_socket.enable_socket()
        pytest_socket.socket_allow_hosts(["127.0.0.1", "localhost", "::1"], allow_unix_socket=True)


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


@dataclass(frozen=True)
class Warehouse:
    """Connections to one migrated database. `owner` is the superuser, the others are the roles of the design."""

    owner: Connection
    ingest: Connection
    transform: Connection
    planner: Connection
    auditor: Connection


@pytest.fixture(autouse=True)
def _fresh_rate_budgets() -> None:
    """A stand-in provider may get the port of an earlier one, but not the ban that a client remembers of it."""
    from coinswarm.sources.http import rate_budget

    rate_budget.cache_clear()


@pytest.fixture(scope="session")
def server_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="coinswarm-servers-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user if we are root
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def pg_server(server_folder: Path) -> Iterator[Connection]:
    """Superuser's connection to a PostgreSQL server, database `postgres`."""
    pytest_socket.enable_socket()
    with servers.postgres_server(server_folder) as owner:
        yield owner


@pytest.fixture(scope="session")
def warehouse_template(pg_server: Connection) -> Iterator[tuple[str, dict[str, str]]]:
    """Name of a migrated database to clone, and the passwords of the roles."""
    from coinswarm.storage.migrate import migrate

    name = f"template_{secrets.token_hex(4)}"
    postgres.ensure_database(pg_server, name)
    migrate(replace(pg_server, schema=name).dsn)
    passwords = {role: secrets.token_urlsafe(18) for role in ROLES}
    for role, password in passwords.items():
        postgres.set_password(pg_server, role, password)
    yield name, passwords
    postgres.drop_database(pg_server, name)


@pytest.fixture(scope="module")
def warehouse(pg_server: Connection, warehouse_template: tuple[str, dict[str, str]]) -> Iterator[Warehouse]:
    """A database of this test module alone, with all migrations applied and no rows."""
    with _cloned(pg_server, *warehouse_template) as own:
        yield own


@pytest.fixture
def empty_warehouse(pg_server: Connection, warehouse_template: tuple[str, dict[str, str]]) -> Iterator[Warehouse]:
    """The same for a test that rows of others would mislead."""
    with _cloned(pg_server, *warehouse_template) as own:
        yield own


@contextmanager
def _cloned(pg_server: Connection, template: str, passwords: dict[str, str]) -> Iterator[Warehouse]:
    name = f"warehouse_{secrets.token_hex(4)}"
    postgres.ensure_database(pg_server, name, template=template)
    roles = {
        role: Connection(
            f"pg_{role}", host=pg_server.host, port=pg_server.port, login=role, password=password, schema=name
        )
        for role, password in passwords.items()
    }
    yield Warehouse(owner=replace(pg_server, schema=name), **roles)
    postgres.drop_database(pg_server, name)


@pytest.fixture(scope="session")
def s3_server(server_folder: Path) -> Iterator[Connection]:
    """Connection to an S3 server with one bucket; tests want `lake_connection`."""
    pytest_socket.enable_socket()
    with servers.s3_server(server_folder) as conn:
        yield conn


@pytest.fixture(scope="module")
def lake_connection(s3_server: Connection) -> Connection:
    """Connection `s3_lake` with an empty bucket of this test module alone."""
    conn = replace(s3_server, schema=f"test-{secrets.token_hex(6)}")
    s3.ensure_bucket(conn)
    return conn


@pytest.fixture(scope="session")
def redis_server(server_folder: Path) -> Iterator[Connection]:
    """Connection to a Redis server; tests want `redis_connection`."""
    pytest_socket.enable_socket()
    with servers.redis_server(server_folder) as conn:
        yield conn


@pytest.fixture(scope="module")
def redis_connection(redis_server: Connection) -> Connection:
    """Connection `redis_ticks` to a database that is emptied for this test module."""
    import redis

    with redis.Redis(
        host=redis_server.host,
        port=redis_server.port or 6379,
        username=redis_server.login or None,
        password=redis_server.password or None,
        db=int(redis_server.schema),
    ) as client:
        for key in client.scan_iter():
            client.delete(key)
    return redis_server
