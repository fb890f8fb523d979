"""Airflow's REST API, as the demo uses it."""

from __future__ import annotations

from typing import Any

import requests

from coinswarm.local.platform import Access


class Airflow:
    """The few calls that the demo makes."""

    def __init__(self, access: Access) -> None:
        """Log in with the generated password.

        Raises:
            requests.RequestException: the API server does not answer.
        """
        self._url = access.url
        self._session = requests.Session()
        token = self._session.post(
            f"{access.url}/auth/token", json={"username": access.username, "password": access.password}, timeout=30
        )
        token.raise_for_status()
        self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"

    def get(self, path: str, **parameters: Any) -> Any:
        """GET below `/api/v2`."""
        answer = self._session.get(f"{self._url}/api/v2/{path}", params=parameters, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def dag_ids(self) -> list[str]:
        """Every DAG that is parsed and not paused."""
        return [dag["dag_id"] for dag in self.get("dags", limit=200, paused=False)["dags"]]

    def unpause(self, dag_id: str) -> None:
        """Switch a DAG on; does nothing if it is."""
        answer = self._session.patch(f"{self._url}/api/v2/dags/{dag_id}", json={"is_paused": False}, timeout=30)
        answer.raise_for_status()

    def task_states(self, dag_id: str) -> list[str]:
        """States of the newest run's tasks; empty if there is no run."""
        run = self._newest_run(dag_id)
        if run is None:
            return []
        tasks = self.get(f"dags/{dag_id}/dagRuns/{run['dag_run_id']}/taskInstances")["task_instances"]
        return [str(task["state"]) for task in tasks]

    def state(self, dag_id: str, run_id: str = "") -> str:
        """State of a run, or of the newest run; empty if there is none."""
        run = self.get(f"dags/{dag_id}/dagRuns/{run_id}") if run_id else self._newest_run(dag_id)
        return "" if run is None else str(run["state"])

    def trigger(self, dag_id: str, run_id: str, conf: dict[str, Any] | None = None) -> bool:
        """Start a run; false if a run of that name exists already."""
        answer = self._session.post(
            f"{self._url}/api/v2/dags/{dag_id}/dagRuns",
            json={"dag_run_id": run_id, "logical_date": None, "conf": conf or {}},
            timeout=30,
        )
        if answer.status_code == requests.codes.conflict:
            return False
        answer.raise_for_status()
        return True

    def _newest_run(self, dag_id: str) -> dict[str, Any] | None:
        runs = self.get(f"dags/{dag_id}/dagRuns", limit=1, order_by="-run_after")["dag_runs"]
        return dict(runs[0]) if runs else None
