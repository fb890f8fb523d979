"""Airflow on one machine: its components as programs, its database, and whether it is really ready."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from coinswarm.errors import CoinswarmError
from coinswarm.local.files import write_private
from coinswarm.local.programs import Program, wait_until
from coinswarm.local.rendering import AIRFLOW_LOCAL_SETTINGS, airflow_cfg
from coinswarm.local.settings import Installation

# Log servers are for other machines to ask; here the API server reads the files.
_COMPONENTS = {
    "api-server": ("api-server",),
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}


def programs(install: Installation) -> list[Program]:
    """One program per component."""
    return [
        Program(
            name=f"airflow-{name}",
            argv=(str(_binary()), *argv),
            folder=install.airflow_home,
            log=install.logs / f"airflow-{name}.log",
            stop_seconds=30,  # the scheduler lets running tasks finish
            order=5 if name == "api-server" else 6,  # it outlives the others, because their tasks report to it
        )
        for name, argv in _COMPONENTS.items()
    ]


def write_settings(install: Installation, pools: Mapping[str, object]) -> bool:
    """Write airflow.cfg, the login, the preload hook and pools.json; returns whether a running Airflow must restart."""
    home = install.airflow_home
    (home / "config").mkdir(parents=True, exist_ok=True)
    changed = write_private(home / "airflow.cfg", airflow_cfg(install))
    changed |= write_private(home / "config" / "airflow_local_settings.py", AIRFLOW_LOCAL_SETTINGS)
    write_private(home / "passwords.json", json.dumps({"admin": install.secrets.airflow_admin}))
    write_private(home / "pools.json", json.dumps(pools, indent=1))
    return changed


def migrate(install: Installation, environment: Mapping[str, str], *, new: bool) -> None:
    """Bring Airflow's own database up to date; skipped if this version did it before, unless the database is new."""
    _once(install.airflow_home / "migrated", metadata.version("apache-airflow"), environment, ("db", "migrate"), new)


def import_pools(install: Installation, environment: Mapping[str, str], *, new: bool) -> None:
    """Make the pools, or set their slots; skipped if the same pools were imported, unless the database is new."""
    path = install.airflow_home / "pools.json"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    _once(install.airflow_home / "pools-imported", digest, environment, ("pools", "import", str(path)), new)


def health(install: Installation) -> dict[str, str]:
    """Status by component (`metadatabase`, `scheduler`, `triggerer`, `dag_processor`), as the API server reports it.

    Raises:
        OSError: the API server does not answer.
    """
    with urllib.request.urlopen(f"{install.url}/api/v2/monitor/health", timeout=10) as answer:  # noqa: S310
        body = json.load(answer)
    return {name: str(part.get("status")) for name, part in body.items() if isinstance(part, dict)}


def wait_ready(install: Installation, *, seconds: float = 240) -> None:
    """Wait until the API server answers and reports every component healthy.

    Raises:
        NotReady: it does not within `seconds`.
    """

    def healthy() -> None:
        ill = {name: status for name, status in health(install).items() if status != "healthy"}
        if ill:
            raise CoinswarmError(f"Airflow reports {ill}")

    wait_until(healthy, what="Airflow", seconds=seconds, log=install.logs / "airflow-api-server.log")


def _once(stamp: Path, content: str, environment: Mapping[str, str], argv: tuple[str, ...], new: bool) -> None:
    if new or not stamp.is_file() or stamp.read_text() != content:
        stamp.unlink(missing_ok=True)
        _run(environment, *argv)
        write_private(stamp, content)


def _run(environment: Mapping[str, str], *argv: str) -> None:
    done = subprocess.run(
        [str(_binary()), *argv], env=dict(environment), cwd="/", capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CoinswarmError(f"airflow {' '.join(argv[:2])} failed: {(done.stderr or done.stdout)[-2000:]}")


def _binary() -> Path:
    found = Path(sys.executable).parent / "airflow"
    if not os.access(found, os.X_OK):
        raise CoinswarmError("Airflow is not installed beside this Python: run make setup")
    return found
