"""What `make demo` shows: green ingest DAGs, a month of history, marts built from it, and what a planner reads."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from coinswarm.cli import output
from coinswarm.connections import resolve
from coinswarm.errors import CoinswarmError
from coinswarm.local.platform import Access

PATIENCE = timedelta(minutes=10)
SYMBOLS = ("BTC-USD", "ETH-USD")
DONE = ("success", "failed")
# Source, dataset, bar length, days: enough for each planner mart to have something to say.
HISTORY = (
    ("coinbase", "ohlcv", "1h", 30),
    ("coinbase", "ohlcv", "1m", 2),
    ("binance", "ohlcv", "1h", 30),
    ("binance", "funding_rates", "", 30),
    ("bybit", "funding_rates", "", 30),
    ("okx", "funding_rates", "", 30),
    ("binance", "open_interest", "", 7),
    ("fred", "series_observations", "", 30),
    ("defillama", "stablecoin_supply", "", 30),
    ("defillama", "tvl", "", 30),
)


class Airflow:
    """The few calls of Airflow's REST API that the demo makes."""

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

    def state(self, dag_id: str, run_id: str = "") -> str:
        """State of a run, or of the newest run; empty if there is none."""
        if run_id:
            return str(self.get(f"dags/{dag_id}/dagRuns/{run_id}")["state"])
        runs = self.get(f"dags/{dag_id}/dagRuns", limit=1, order_by="-run_after")["dag_runs"]
        return str(runs[0]["state"]) if runs else ""

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


def show_planner_table(access: Access) -> None:
    """Wait until every ingest DAG has run, bring in history, build marts and documents, print what planners see.

    Safe to call again: what is there is neither fetched nor built twice.

    Raises:
        CoinswarmError: a DAG failed, or did not finish within ten minutes; the message names it.
    """
    os.environ["COINSWARM_CONNECTIONS"] = str(access.connections_file)
    airflow = Airflow(access)
    expected = _ingest_dags()
    with output.progress() as bar:
        _wait(bar, "DAGs parsed", expected, lambda dag: dag in airflow.dag_ids())
        wanted = [(f"demo-{s}-{d}{f'-{t}' if t else ''}", (s, d, t, days)) for s, d, t, days in HISTORY]
        for run_id, (source, dataset, timeframe, days) in wanted:
            airflow.trigger("backfill_history", run_id, _backfill(source, dataset, timeframe, days))
        _wait(bar, "ingest DAGs green", expected, lambda dag: _green(airflow, dag))
        _wait(bar, "history", [run_id for run_id, _ in wanted], lambda run: _green(airflow, "backfill_history", run))
        airflow.trigger("build_planner_marts", "demo-marts")
        _wait(bar, "planner marts", ["demo-marts"], lambda run: _green(airflow, "build_planner_marts", run))
        # Its first run was at the start, when there was nothing to show yet.
        airflow.trigger("publish_docs", "demo-docs")
        _wait(bar, "documents", ["demo-docs"], lambda run: _green(airflow, "publish_docs", run))
    _print_features()


def _ingest_dags() -> list[str]:
    from coinswarm.sources import SOURCES

    return [f"ingest__{slug}__{c}" for slug, spec in SOURCES.items() if spec.enabled for c in spec.cadences]


def _backfill(source: str, dataset: str, timeframe: str, days: int) -> dict[str, Any]:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return {
        "source": source,
        "dataset": dataset,
        "timeframe": timeframe,
        "instruments": [],
        "start": (end - timedelta(days=days)).isoformat(),
        "end": end.isoformat(),
    }


def _green(airflow: Airflow, dag_id: str, run_id: str = "") -> bool:
    state = airflow.state(dag_id, run_id)
    if state == "failed":
        raise CoinswarmError(f"{dag_id} {run_id} failed: its log in the Airflow UI says why".replace("  ", " "))
    return state == "success"


def _wait(bar: Any, what: str, names: Iterable[str], done: Callable[[str], bool]) -> None:
    waiting = list(names)
    task = bar.add_task(what, total=len(waiting))
    give_up = time.monotonic() + PATIENCE.total_seconds()
    while True:
        waiting = [name for name in waiting if not done(name)]
        bar.update(task, completed=bar.tasks[task].total - len(waiting))
        if not waiting:
            return
        if time.monotonic() > give_up:
            raise CoinswarmError(f"still waiting for {what} after {PATIENCE}: {', '.join(waiting)}")
        time.sleep(1)


def _print_features() -> None:
    from coinswarm.clients import PlannerData

    frame = PlannerData(resolve("pg_planner")).get_features(
        symbols=list(SYMBOLS), sources=["price", "funding", "volatility"], window_days=1, granularity="1h"
    )
    rows = [
        (
            symbol,
            f"{bucket:%H:%M}",
            f"{row['close']:,.2f}",
            f"{row['realised_volatility_1d_annualised']:.1%}",
            f"{row['funding_apr_median']:.2%}",
            f"{row['verified_fraction']:.3f}",
            f"{row['known_at']:%H:%M:%S}",
        )
        for (symbol, bucket), row in frame.groupby("symbol").tail(6).iterrows()
    ]
    columns = ("symbol", "UTC", "close", "vol 1d", "APR", "verified", "known at")
    output.table("What a planner sees: the last six hours", columns, rows)
