"""Render dbt docs and Data Docs of a running platform now, without waiting for the DAG `publish_docs`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from coinswarm.connections import resolve
from coinswarm.errors import UserError
from coinswarm.local import platform


def render(profile: str = "live") -> dict[str, Path]:
    """Write both kinds of documents into the data folder; returns their folders.

    Raises:
        UserError: the platform does not run.
    """
    found = platform.status(profile)
    if not found.programs:
        raise UserError(f"the {profile} platform does not run: its store is what the pages show")
    # Heavy, and not needed to say no.
    from coinswarm.documents import folder
    from coinswarm.orchestration.marts import generate_docs
    from coinswarm.quality.docs import publish_data_docs

    os.environ["COINSWARM_HOME"] = str(found.home)
    os.environ["COINSWARM_CONNECTIONS"] = str(found.home / "connections.json")
    folders = {kind: folder(kind) for kind in ("dbt_docs", "data_docs")}
    generate_docs(resolve("pg_transform"), folders["dbt_docs"])
    publish_data_docs(resolve("pg_ingest"), resolve("s3_lake"), folders["data_docs"])
    return folders


if __name__ == "__main__":
    try:
        for kind, path in render(*sys.argv[1:2]).items():
            print(f"{kind}: {path}")
    except UserError as error:
        sys.exit(str(error))
