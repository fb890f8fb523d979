"""A demo platform as a stranger starts it, and what is asked of it."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import requests

from coinswarm.connections import Connection, from_fields
from coinswarm.local import supervision

UP_PATIENCE = 1800  # seconds; a quiet machine of two cores needs four minutes, a slow or busy one many more
PATIENCE = 240  # seconds, for what is a matter of some


@dataclass(frozen=True)
class Demo:
    """A platform that `up --demo` has started, and what it printed."""

    home: Path
    environment: dict[str, str]
    printed: str

    @property
    def url(self) -> str:
        return self._printed(r"Airflow UI\s+(\S+)")

    @property
    def password(self) -> str:
        return self._printed(r"login\s+admin / (\S+)")

    @property
    def psql(self) -> str:
        return self._printed(r"SQL\s+(\S.*)")

    def _printed(self, pattern: str) -> str:
        found = re.search(pattern, self.printed)
        assert found, self.printed
        return found.group(1).strip()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "coinswarm", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=UP_PATIENCE,
            check=False,
        )

    def get(self, path: str, **parameters: Any) -> Any:
        answer = requests.get(
            f"{self.url}/api/v2/{path}",
            params=parameters,
            headers={"Authorization": f"Bearer {self.token()}"},
            timeout=60,
        )
        answer.raise_for_status()
        return answer.json()

    def token(self) -> str:
        answer = requests.post(
            f"{self.url}/auth/token", json={"username": "admin", "password": self.password}, timeout=60
        )
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def runs(self, dag_id: str = "~", **parameters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            page = self.get(f"dags/{dag_id}/dagRuns", limit=100, offset=len(found), order_by="id", **parameters)
            found += page["dag_runs"]
            if len(found) >= page["total_entries"] or not page["dag_runs"]:
                return found

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = requests.request(
            method,
            f"{self.url}/api/v2/{path}",
            json=body,
            headers={"Authorization": f"Bearer {self.token()}"},
            timeout=60,
        )
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def connection(self, conn_id: str) -> Connection:
        return from_fields(conn_id, json.loads((self.home / "connections.json").read_text())[conn_id])

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.connection("pg_auditor").dsn) as session:
            return session.execute(sql, values or None).fetchall()

    def kill(self, program: str) -> None:
        """SIGKILL a program and its children; the supervisor starts it again."""
        (pid,) = [state.pid for state in supervision.states(self.home) if state.name == program]
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def processes(self) -> list[psutil.Process]:
        leader = supervision.supervisor_process(self.home)
        assert leader
        return [leader, *leader.children(recursive=True)]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What a condition gives as soon as it holds; it is asked every half second."""
    end = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.5)
