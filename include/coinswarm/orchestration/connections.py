"""Connections inside tasks: asked from Airflow, so that secrets backends, the UI and the environment all work."""

from __future__ import annotations

from airflow.sdk import Connection as AirflowConnection

from coinswarm.connections import Connection, from_fields


def resolve(conn_id: str) -> Connection:
    """The Airflow connection called `conn_id`, in the form that the library takes."""
    found = AirflowConnection.get(conn_id)
    return from_fields(
        conn_id,
        {
            "host": found.host,
            "port": found.port,
            "login": found.login,
            "password": found.password,
            "schema": found.schema,
            "extra": found.extra_dejson,
        },
    )
