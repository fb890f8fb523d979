"""Sessions in the warehouse, set up the same everywhere: UTC, UTF-8, a name in pg_stat_activity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable

LOOPBACK = ("127.0.0.1", "::1", "localhost")
CONNECT_SECONDS = 10

Session = psycopg.Connection[tuple[Any, ...]]


def connect(connection: Connection, *, autocommit: bool = False) -> Session:
    """Open a session as the role of `connection`.

    `extra["sslmode"]` is passed on; without it TLS is used where the server offers it, and not asked for on loopback.

    Raises:
        StoreUnavailable: the server does not answer or refuses the login; the message holds no password.
    """
    sslmode = connection.extra.get("sslmode") or ("disable" if connection.host in LOOPBACK else "prefer")
    try:
        return psycopg.connect(
            host=connection.host,
            port=connection.port or 5432,
            user=connection.login,
            password=connection.password or None,
            dbname=connection.schema,
            sslmode=sslmode,
            connect_timeout=CONNECT_SECONDS,
            client_encoding="UTF8",
            application_name=f"coinswarm {connection.conn_id}"[:63],
            options="-c timezone=UTC -c jit=off",
            autocommit=autocommit,
        )
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"{connection.conn_id}: {str(error).strip()}") from error


@contextmanager
def store_errors() -> Iterator[None]:
    """Around work in the warehouse (also as a decorator): a server that goes away becomes an error that is tried again.

    Raises:
        StoreUnavailable: the session was lost, cancelled, or the victim of a deadlock; its transaction is undone.
    """
    try:
        yield
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"warehouse: {type(error).__name__}: {str(error).strip()}") from error


def require_idle(conn: Session) -> None:
    """Refuse a session that is inside a transaction: what follows must commit on its own.

    Raises:
        RuntimeError: a transaction is open.
    """
    if conn.info.transaction_status is not TransactionStatus.IDLE:
        raise RuntimeError("this session is inside a transaction: commit first, or open it with autocommit=True")
