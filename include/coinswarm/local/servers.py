"""Throw-away servers for tests and benchmarks: each lives as long as its `with` block, on a port chosen now.

A server that is given by the environment is used instead: COINSWARM_PG_DSN (a superuser's), COINSWARM_REDIS_URL,
COINSWARM_S3_URL.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from coinswarm.connections import Connection
from coinswarm.local import postgres, redis, s3
from coinswarm.local.ports import free_ports
from coinswarm.local.programs import running


@contextlib.contextmanager
def postgres_server(folder: Path) -> Iterator[Connection]:
    """A PostgreSQL cluster below `folder`; yields the superuser's connection to database `postgres`."""
    given = os.environ.get("COINSWARM_PG_DSN")
    if given:
        yield postgres.from_dsn(given)
        return
    password = secrets.token_urlsafe(18)
    (port,) = free_ports(1)
    log = folder / "postgres.log"
    postgres.create_cluster(folder / "postgres", password, durable=False)
    owner = postgres.superuser(port, password)
    with running(postgres.program(folder / "postgres", port, log)):
        postgres.wait_ready(owner, log=log)
        yield owner


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[Connection]:
    """A Redis server below `folder`; yields connection `redis_ticks`. Its reader has the same password."""
    given = os.environ.get("COINSWARM_REDIS_URL")
    if given:
        yield redis.from_url(given)
        return
    password = secrets.token_urlsafe(18)
    (port,) = free_ports(1)
    log = folder / "redis.log"
    redis.write_settings(folder / "redis", password, reader_password=password, durable=False)
    conn = redis.connection(port, password)
    with running(redis.program(folder / "redis", port, log)):
        redis.wait_ready(conn, log=log)
        yield conn


@contextlib.contextmanager
def s3_server(folder: Path) -> Iterator[Connection]:
    """An S3 server below `folder`; yields connection `s3_lake` with an existing bucket."""
    given = os.environ.get("COINSWARM_S3_URL")
    if given:
        yield s3.from_url(given)
        return
    access, secret = secrets.token_hex(10), secrets.token_urlsafe(30)
    ports = s3.S3Ports(*free_ports(5))
    log = folder / "s3.log"
    s3.write_settings(folder / "s3", access, secret)
    conn = s3.connection(ports.s3, access, secret)
    with running(s3.program(folder / "s3", ports, log)):
        s3.wait_ready(conn, log=log)
        yield conn
