"""What `make demo` shows: green ingest DAGs, a month of history, live ticks, marts of both, and what agents read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from coinswarm.cli import output
from coinswarm.clients.channels import VENUES
from coinswarm.connections import resolve
from coinswarm.errors import CoinswarmError
from coinswarm.local import demo_ticks
from coinswarm.local.airflow_api import Airflow
from coinswarm.local.platform import Access
from coinswarm.timeframes import floor

PATIENCE = timedelta(minutes=10)
SYMBOLS = ("BTC-USD", "ETH-USD")
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


def show(access: Access) -> None:
    """Wait until every ingest DAG has run, bring in history, switch live ticks on, build marts, print what agents see.

    Safe to call again: what is there is neither fetched nor built twice.

    Raises:
        CoinswarmError: a DAG failed, or did not finish within ten minutes; the message names it.
    """
    os.environ["COINSWARM_CONNECTIONS"] = str(access.connections_file)
    airflow = Airflow(access)
    expected = _ingest_dags()
    with output.progress() as bar:
        _wait(bar, "DAGs parsed", expected, lambda names: set(names) - set(airflow.dag_ids()))
        wanted = [(f"demo-{s}-{d}{f'-{t}' if t else ''}", (s, d, t, days)) for s, d, t, days in HISTORY]
        for run_id, (source, dataset, timeframe, days) in wanted:
            airflow.trigger("backfill_history", run_id, _backfill(source, dataset, timeframe, days))
        _wait(bar, "ingest DAGs green", expected, _until(lambda dag: _green(airflow, dag)))
        airflow.unpause("stream_ticks")
        runs = [run_id for run_id, _ in wanted]
        _wait(bar, "history", runs, _until(lambda run: _green(airflow, "backfill_history", run)))
        _wait(bar, "live feeds", VENUES, _until(lambda venue: demo_ticks.heard(airflow, venue)))
        # They are rare, nobody serves past ones, and the heatmap is made of what is archived now.
        _wait(bar, "a liquidation", ["perpetuals"], _until(lambda _: demo_ticks.liquidated()))
        _run(bar, airflow, "archive_ticks", "demo-archive", "ticks archived")
        # From the last whole hour on, so that there is a volume delta before the feeds have run for an hour.
        _run(bar, airflow, "repair_gaps", "demo-trades", "trades before", _past_trades())
        _run(bar, airflow, "build_planner_marts", "demo-marts", "planner marts")
        # Its first run was at the start, when there was nothing to show yet.
        _run(bar, airflow, "publish_docs", "demo-docs", "documents")
    _print_features()
    demo_ticks.print_ticks()


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


def _past_trades() -> dict[str, Any]:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    instruments = ["BTC-USDT-PERP", "ETH-USDT-PERP"]
    start = floor(now, hour) - hour
    return {"source": "binance", "instruments": instruments, "start": start.isoformat(), "end": now.isoformat()}


def _run(bar: Any, airflow: Airflow, dag_id: str, run_id: str, what: str, conf: dict[str, Any] | None = None) -> None:
    airflow.trigger(dag_id, run_id, conf)
    _wait(bar, what, [run_id], _until(lambda run: _green(airflow, dag_id, run)))


def _green(airflow: Airflow, dag_id: str, run_id: str = "") -> bool:
    state = airflow.state(dag_id, run_id)
    if state == "failed":
        raise CoinswarmError(f"{dag_id} {run_id} failed: its log in the Airflow UI says why".replace("  ", " "))
    return state == "success"


def _until(done: Callable[[str], bool]) -> Callable[[Collection[str]], Collection[str]]:
    return lambda names: [name for name in names if not done(name)]


def _wait(bar: Any, what: str, names: Iterable[str], left: Callable[[Collection[str]], Collection[str]]) -> None:
    """Until nothing is `left` of the names, each of which is asked about again while it is."""
    waiting: Collection[str] = list(names)
    task = bar.add_task(what, total=len(waiting))
    give_up = time.monotonic() + PATIENCE.total_seconds()
    while True:
        try:
            waiting = left(waiting)
        except requests.RequestException as error:
            # A busy machine: what does not answer now is asked again.
            if time.monotonic() > give_up:
                raise CoinswarmError(f"Airflow does not answer: {error}") from error
        bar.update(task, completed=bar.tasks[task].total - len(waiting))
        if not waiting:
            return
        if time.monotonic() > give_up:
            raise CoinswarmError(f"still waiting for {what} after {PATIENCE}: {', '.join(sorted(waiting))}")
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
