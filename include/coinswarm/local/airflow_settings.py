"""Connections and pools from `airflow_settings.yaml`, completed with the hosts and secrets of one installation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from coinswarm.connections import Connection
from coinswarm.errors import UserError

_ASTRO_KEYS = {
    "conn_type": "conn_type",
    "conn_host": "host",
    "conn_port": "port",
    "conn_login": "login",
    "conn_password": "password",
    "conn_schema": "schema",
    "conn_extra": "extra",
}


def read(path: Path) -> dict[str, Any]:
    """The `airflow` section of the file.

    Raises:
        UserError: the file is missing or has no such section.
    """
    if not path.is_file():
        raise UserError(f"{path} is missing: run from a checkout of the repository")
    section = (yaml.safe_load(path.read_text()) or {}).get("airflow")
    if not isinstance(section, dict):
        raise UserError(f"{path} has no section 'airflow'")
    return section


def connections(
    section: Mapping[str, Any],
    servers: Mapping[str, Connection],
    *,
    provider_host: str = "",
    api_keys: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Airflow's JSON form of every declared connection.

    `servers` gives host, port, login, password, schema and extra by connection id. Providers get `provider_host` (the
    sandbox) and their key from `api_keys` (by slug).

    Raises:
        UserError: a declared connection is neither a provider's nor among `servers`.
    """
    keys = api_keys or {}
    found: dict[str, dict[str, Any]] = {}
    for entry in section["connections"]:
        conn_id = entry["conn_id"]
        fields = {ours: entry[theirs] for theirs, ours in _ASTRO_KEYS.items() if entry.get(theirs) not in (None, "")}
        if conn_id.startswith("http_"):
            fields |= {"host": provider_host} if provider_host else {}
            key = keys.get(conn_id.removeprefix("http_"))
            fields |= {"password": key} if key else {}
        elif conn_id in servers:
            fields |= _fields(servers[conn_id])
        else:
            raise UserError(f"airflow_settings.yaml declares {conn_id!r}, and nothing here provides such a server")
        found[conn_id] = fields
    return found


def pools(section: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What `airflow pools import` reads."""
    return {
        pool["pool_name"]: {
            "slots": int(pool["pool_slot"]),
            "description": pool.get("pool_description", ""),
            "include_deferred": False,
        }
        for pool in section["pools"]
    }


def _fields(conn: Connection) -> dict[str, Any]:
    values = {
        "host": conn.host,
        "port": conn.port,
        "login": conn.login,
        "password": conn.password,
        "schema": conn.schema,
        "extra": dict(conn.extra),
    }
    return {name: value for name, value in values.items() if value}
