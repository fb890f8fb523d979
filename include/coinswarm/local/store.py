"""The warehouse of an installation: schema, passwords of its roles, and the registry's rows."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import psycopg

import coinswarm
from coinswarm.connections import Connection
from coinswarm.local import postgres
from coinswarm.storage import reference
from coinswarm.storage.migrate import migrate

DATABASE = "warehouse"


def prepare_store(owner: Connection, passwords: Mapping[str, str]) -> None:
    """Apply missing migrations, set the password of each role, and load the registry. Safe to repeat."""
    warehouse = replace(owner, schema=DATABASE)
    migrate(warehouse.dsn)
    for role, password in passwords.items():
        postgres.set_password(warehouse, role, password)
    with psycopg.connect(warehouse.dsn) as conn:
        reference.load(conn)


def stamp() -> str:
    """Changes whenever `prepare_store` would have something to do for a new version of the code."""
    package = Path(coinswarm.__file__).parent
    files = sorted([*package.glob("storage/migrations/*.sql"), *package.glob("registry/*.csv")])
    return hashlib.sha256(b"\0".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()
