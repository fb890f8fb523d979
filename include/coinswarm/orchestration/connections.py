"""Connections inside tasks: asked from Airflow, so that secrets backends, the UI and the environment all work."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Connection as AirflowConnection

from coinswarm.connections import Connection, from_fields


def resolve(conn_id: str) -> Connection:
    """The Airflow connection called `conn_id`, in the form that the library takes."""
    found = AirflowConnection.get(conn_id)
    return _ours(conn_id, found, found.extra_dejson)


async def resolve_in_loop(conn_id: str) -> Connection:
    """The same inside a trigger, where the synchronous accessors would hold up every other trigger of the loop."""
    found = await AirflowConnection.async_get(conn_id)
    # As text: which class comes back depends on the secrets backend, and not all can read it without blocking.
    return _ours(conn_id, found, found.extra)


def _ours(conn_id: str, found: Any, extra: Any) -> Connection:
    return from_fields(
        conn_id,
        {
            "host": found.host,
            "port": found.port,
            "login": found.login,
            "password": found.password,
            "schema": found.schema,
            "extra": extra,
        },
    )
