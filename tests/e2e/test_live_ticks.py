"""Live ticks in the demo: a real scheduler and triggerer, and what becomes of the ticks when parts of it are killed.

The tests build on each other: what they break has to be whole again at the end, trade by trade.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from tests.e2e.platform import Demo, wait_for
from tests.integration.ticks.reckoning import HEAD, range_of, reckon
from tests.integration.ticks.trade_streams import trade_streams

from coinswarm.clients.channels import VENUES
from coinswarm.ticks.shards import shard_names

pytestmark = pytest.mark.e2e

DAG = "stream_ticks"


@pytest.fixture
def reader(demo: Demo) -> Iterator[redis.Redis]:
    """Redis as committee members have it."""
    known = demo.connection("redis_committee")
    with redis.Redis(
        host=known.host, port=known.port or 6379, username=known.login, password=known.password, decode_responses=True
    ) as client:
        yield client


def newest_run(demo: Demo) -> dict[str, Any]:
    (run,) = demo.get(f"dags/{DAG}/dagRuns", limit=1, order_by="-run_after")["dag_runs"]
    return dict(run)


def tasks(demo: Demo, run_id: str) -> dict[str, str]:
    found = demo.get(f"dags/{DAG}/dagRuns/{run_id}/taskInstances")["task_instances"]
    return {task["task_id"]: task["state"] for task in found}


def deferred(demo: Demo) -> bool:
    return set(tasks(demo, newest_run(demo)["dag_run_id"]).values()) == {"deferred"}


def owners(client: redis.Redis) -> dict[str, str]:
    """Who writes each shard."""
    return {shard: str(client.hget(f"ticks:lease:{shard}", "owner") or "") for shard in shard_names()}


def live_since(demo: Demo, moment: datetime) -> set[str]:
    rows = demo.query("select distinct shard from ops.stream_sessions where state = 'live' and at > %s", moment)
    return {shard for (shard,) in rows}


def triggered(demo: Demo, dag_id: str) -> str:
    run = demo.send("POST", f"dags/{dag_id}/dagRuns", {"logical_date": None})
    return str(run["dag_run_id"])


def succeed(demo: Demo, dag_id: str, run_id: str) -> None:
    wait_for(lambda: demo.get(f"dags/{dag_id}/dagRuns/{run_id}")["state"] == "success", f"{dag_id} {run_id}")


def test_feeds_when_the_demo_is_up_then_all_are_deferred_and_every_venue_trades(
    demo: Demo, reader: redis.Redis
) -> None:
    run = newest_run(demo)
    assert run["state"] == "running"
    assert tasks(demo, run["dag_run_id"]) == {f"stream_{shard}": "deferred" for shard in shard_names()}
    keys = [key for key in reader.smembers("ticks:streams") if key.startswith("trades:")]
    heard: set[str] = set()

    def listen() -> bool:
        for _, entries in reader.xread(dict.fromkeys(keys, "0"), count=5_000):
            heard.update(fields["venue"] for _, fields in entries)
        return heard == set(VENUES)

    wait_for(listen, f"trades of {VENUES}")
    assert {source for (source,) in demo.query("select distinct source from raw.trades")} == set(VENUES)


def test_marts_when_ticks_are_archived_then_have_volume_delta_and_heatmap(demo: Demo) -> None:
    deltas = demo.query(
        "select bucket_at, cvd_delta_base, ticks_verified_fraction from marts.planner_positioning_current"
        " where symbol = 'BTC-USDT' and cvd_delta_base <> 0 and ticks_verified_fraction > 0"
    )
    assert deltas
    cells = demo.query("select count(*), sum(notional_usd) from marts.liquidation_heatmap_current")
    assert cells[0][0] > 0
    assert cells[0][1] > 0


def test_session_when_it_is_over_then_the_next_takes_over_without_a_hole(demo: Demo) -> None:
    run, since = newest_run(demo), datetime.now(UTC)
    demo.send("POST", "variables", {"key": DAG, "value": json.dumps({"session_seconds": 90})})
    try:
        wait_for(lambda: newest_run(demo)["dag_run_id"] != run["dag_run_id"] and deferred(demo), "the next run")
        wait_for(lambda: live_since(demo, since) == set(shard_names()), "every shard is taken over")
    finally:
        demo.send("DELETE", f"variables/{DAG}")
    assert demo.get(f"dags/{DAG}/dagRuns/{run['dag_run_id']}")["state"] == "success"
    states = demo.query("select state, reason from ops.stream_sessions where at > %s and state = 'live'", since)
    assert set(states) == {("live", "taken over")}
    assert demo.query("select venue, symbol, channel, reason from ops.stream_gaps where recorded_at > %s", since) == []


def test_task_when_marked_as_failed_then_its_lease_is_free_and_cleared_it_goes_on(
    demo: Demo, reader: redis.Redis
) -> None:
    run_id, task_id = newest_run(demo)["dag_run_id"], "stream_okx"
    others = {shard: owner for shard, owner in owners(reader).items() if shard != "okx"}
    since = datetime.now(UTC)
    demo.send("PATCH", f"dags/{DAG}/dagRuns/{run_id}/taskInstances/{task_id}", {"new_state": "failed"})
    wait_for(lambda: not reader.exists("ticks:lease:okx"), "the lease of okx is free")
    assert tasks(demo, run_id)[task_id] == "failed"
    cleared = {"dry_run": False, "dag_run_id": run_id, "task_ids": [task_id], "only_failed": True}
    demo.send("POST", f"dags/{DAG}/clearTaskInstances", cleared)
    wait_for(lambda: "okx" in live_since(demo, since) and deferred(demo), "okx is live again")
    assert {shard: owner for shard, owner in owners(reader).items() if shard != "okx"} == others


def test_triggerer_when_killed_then_another_goes_on_and_what_was_missed_is_a_gap(
    demo: Demo, reader: redis.Redis
) -> None:
    since = datetime.now(UTC)
    demo.kill("airflow-triggerer")
    wait_for(lambda: live_since(demo, since) == set(shard_names()), "every shard is live again")
    assert all(owners(reader).values())
    gaps = demo.query(
        "select distinct venue from ops.stream_gaps where reason = 'crash' and channel = 'trades' and recorded_at > %s",
        since,
    )
    assert {venue for (venue,) in gaps} == set(VENUES)
    assert deferred(demo)


def test_archive_when_killed_then_its_retry_takes_over(demo: Demo) -> None:
    run_id = triggered(demo, "archive_ticks")
    path = f"dags/archive_ticks/dagRuns/{run_id}/taskInstances/archive_streams"

    def working() -> int:
        task = demo.get(path)
        return int(task["pid"] or 0) if task["state"] == "running" else 0

    os.kill(wait_for(working, "the archive is at work"), signal.SIGKILL)
    succeed(demo, "archive_ticks", run_id)
    assert demo.get(path)["try_number"] == 2


def test_archive_when_many_entries_wait_then_comes_before_its_time(demo: Demo) -> None:
    demo.send("POST", "variables", {"key": "archive_ticks", "value": json.dumps({"wake_entries": 20})})
    try:
        (run,) = wait_for(lambda: demo.runs("archive_ticks", run_type="asset_triggered")[:1], "the archive is woken")
        succeed(demo, "archive_ticks", run["dag_run_id"])
    finally:
        demo.send("DELETE", "variables/archive_ticks")
    (event,) = demo.get(f"dags/archive_ticks/dagRuns/{run['dag_run_id']}/upstreamAssetEvents")["asset_events"][:1]
    assert event["extra"]["payload"]["waiting"] >= 20


def test_agent_when_redis_is_killed_then_says_what_is_incomplete_and_goes_on(demo: Demo) -> None:
    with agent(demo) as lines:
        windows: list[dict[str, Any]] = []

        def read_until(complete: bool) -> None:
            while not windows or windows[-1]["complete"] != complete:
                windows.append(json.loads(next(lines)))

        read_until(complete=True)
        demo.kill("redis")
        read_until(complete=False)
        read_until(complete=True)
    assert windows[-1]["trades"] > 0
    assert {window["symbol"] for window in windows} == {"BTC-USDT"}
    # A window in which something may be missing decides nothing.
    assert {window["decision"] for window in windows if not window["complete"]} == {"wait"}


@contextlib.contextmanager
def agent(demo: Demo) -> Iterator[Iterator[str]]:
    """The example agent of the documentation, as a process; gives the lines that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "coinswarm.clients.example_agent", "BTC-USDT", "--seconds", "2"],
        env=demo.environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        try:
            yield iter(process.stdout)
        finally:
            process.terminate()
    assert process.returncode == 0


def test_trades_when_all_of_that_has_happened_then_each_is_in_raw_once_or_in_an_open_gap(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    for dag_id in ("archive_ticks", "repair_gaps"):
        succeed(demo, dag_id, triggered(demo, dag_id))
    venues, now_ms = demo.connection("http_binance").host, time.time_ns() // 1_000_000
    ranges = [(one, range_of(demo.query, one, (now_ms, now_ms))) for one in trade_streams()]
    found = [reckon(demo.query, venues, one, range_ms) for one, range_ms in ranges]
    with capsys.disabled():
        print("", HEAD, *found, sep="\n")
    assert [str(one) for one in found if not one.adds_up] == []
    assert sum(one.repaired for one in found) > 0
