"""The one-off job of a deployment on given servers (docker-compose.yaml): databases, roles, migrations, pools, bucket.

`python -m coinswarm.local.deployment` reads COINSWARM_PG_DSN (the owner's, which no other service gets),
COINSWARM_S3_URL and COINSWARM_PG_<ROLE>_PASSWORD. Safe to run at every deployment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from coinswarm.errors import CoinswarmError, UserError
from coinswarm.local import airflow_settings, postgres, s3
from coinswarm.local.files import write_private
from coinswarm.local.settings import REPOSITORY, ROLES
from coinswarm.local.store import prepare_store


def prepare(environment: Mapping[str, str]) -> None:
    """Bring servers to the state that this version of the project needs.

    Raises:
        UserError: a variable is missing; the message names it.
        CoinswarmError: a server refused, or a migration failed.
    """
    owner = postgres.from_dsn(_required(environment, "COINSWARM_PG_DSN"))
    lake = s3.from_url(_required(environment, "COINSWARM_S3_URL"))
    passwords = {role: _required(environment, f"COINSWARM_PG_{role.upper()}_PASSWORD") for role in (*ROLES, "airflow")}
    postgres.wait_ready(owner, seconds=60)
    postgres.ensure_role(owner, "airflow", passwords.pop("airflow"))
    postgres.ensure_database(owner, "airflow", role="airflow")
    postgres.ensure_database(owner, "warehouse")
    prepare_store(owner, passwords)
    s3.wait_ready(lake, seconds=60)
    pools = airflow_settings.pools(airflow_settings.read(REPOSITORY / "airflow_settings.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pools.json"
        write_private(file, json.dumps(pools))
        _airflow("db", "migrate")
        _airflow("pools", "import", str(file))


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name)
    if not value:
        raise UserError(f"{name} is not set, see .env.example")
    return value


def _airflow(*argv: str) -> None:
    if subprocess.run(["airflow", *argv], check=False).returncode:
        raise CoinswarmError(f"airflow {' '.join(argv[:2])} failed")


if __name__ == "__main__":
    try:
        prepare(os.environ)
    except CoinswarmError as error:
        sys.exit(str(error))
