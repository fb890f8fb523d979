"""Connections for another process: the file that `COINSWARM_CONNECTIONS` names."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

from coinswarm.connections import Connection, Resolver

IDS = ("pg_ingest", "pg_transform", "pg_planner", "pg_auditor", "s3_lake", "http_binance")


def write_connections(folder: Path, resolve: Resolver, ids: Iterable[str] = IDS) -> dict[str, str]:
    """Write the file, readable by us alone; returns the environment that points to it."""
    names = [field.name for field in fields(Connection) if field.name != "conn_id"]
    known = {conn_id: {name: getattr(resolve(conn_id), name) for name in names} for conn_id in ids}
    path = folder / "connections.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps(known))
    return {"COINSWARM_CONNECTIONS": str(path)}
