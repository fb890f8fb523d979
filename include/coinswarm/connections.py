"""Where servers and providers are: Airflow's own connections, read without Airflow.

Order: the environment (`AIRFLOW_CONN_<ID>` as JSON), then the JSON file named by `COINSWARM_CONNECTIONS` (the file that
Airflow's LocalFilesystemBackend reads as well). Inside tasks `orchestration.connections` asks Airflow instead.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from coinswarm.errors import UserError


@dataclass(frozen=True, slots=True)
class Connection:
    """One server or provider. `repr` never shows the password."""

    conn_id: str
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = field(default="", repr=False)
    schema: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def dsn(self) -> str:
        """PostgreSQL URI of this connection (`schema` is the database)."""
        credentials = quote(self.login, safe="") + (f":{quote(self.password, safe='')}" if self.password else "")
        return f"postgresql://{credentials}@{self.host}:{self.port or 5432}/{self.schema}"

    @property
    def redis_arguments(self) -> dict[str, Any]:
        """What a client of Redis needs to get here (`schema` is the number of the database, `ssl` in `extra`)."""
        return {
            "host": self.host,
            "port": self.port or 6379,
            "username": self.login or None,
            "password": self.password or None,
            "db": int(self.schema or 0),
            "ssl": bool(self.extra.get("ssl")),
        }


Resolver = Callable[[str], Connection]


def from_fields(conn_id: str, fields: Mapping[str, Any]) -> Connection:
    """Build a connection from Airflow's JSON form (`host`, `port`, `login`, `password`, `schema`, `extra`)."""
    extra = fields.get("extra") or {}
    port = fields.get("port")
    return Connection(
        conn_id=conn_id,
        host=str(fields.get("host") or ""),
        port=int(port) if port else None,
        login=str(fields.get("login") or ""),
        password=str(fields.get("password") or ""),
        schema=str(fields.get("schema") or ""),
        extra=json.loads(extra) if isinstance(extra, str) else extra,
    )


def resolve(conn_id: str) -> Connection:
    """The connection called `conn_id`.

    Raises:
        UserError: it is neither in the environment nor in the file.
    """
    inline = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}")
    if inline:
        return from_fields(conn_id, json.loads(inline))
    path = os.environ.get("COINSWARM_CONNECTIONS")
    if path and Path(path).is_file():
        known = json.loads(Path(path).read_text())
        if conn_id in known:
            return from_fields(conn_id, known[conn_id])
    raise UserError(f"connection {conn_id!r} is not defined: start the platform, or set AIRFLOW_CONN_{conn_id.upper()}")
