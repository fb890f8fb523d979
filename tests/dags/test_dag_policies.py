"""What every DAG of the folder must have, and samples that prove that the checks bite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG, BaseOperator
from tests.support import ROOT

from coinswarm.orchestration import dag_inventory
from coinswarm.orchestration.dag_docs import HEADINGS
from coinswarm.orchestration.tags import Kind, Layer, Tier
from coinswarm.registry import INSTRUMENTS
from coinswarm.sources import SOURCES
from coinswarm.ticks.shards import shard_names

pytestmark = pytest.mark.dags

DAGS = ROOT / "dags"
CLOSED_TAGS = {*Layer, *Kind, *Tier}
DAG_ID = re.compile(r"(ingest__[a-z]+__(15m|1h|1d)|[a-z]+(_[a-z]+)+)")


@pytest.fixture(scope="session")
def bag() -> DagBag:
    return DagBag(str(DAGS))


def problems(dag: DAG) -> list[str]:
    """What is wrong with a DAG by the policies; empty if nothing."""
    found = []
    if not DAG_ID.fullmatch(dag.dag_id):
        found.append("dag_id is not <verb>_<object>[__<slug>__<cadence>]")
    if re.findall(r"^### (.+)$", dag.doc_md or "", re.M) != list(HEADINGS):
        found.append("doc_md lacks the fixed headings")
    for tag in dag.tags:
        if tag not in CLOSED_TAGS and not re.fullmatch(r"(source|family):[a-z]+", tag):
            found.append(f"tag {tag} is not on the closed list")
    for kind in (Layer, Kind, Tier):
        if len(dag.tags & set(kind)) != 1:
            found.append(f"needs exactly one {kind.__name__} tag")
    if not dag.description or dag.deadline is None or dag.dagrun_timeout is None:
        found.append("needs description, deadline and dagrun_timeout")
    for task in dag.tasks:
        if task.owner != "data-engineering" or task.retries < 2 or task.execution_timeout is None:
            found.append(f"{task.task_id}: needs the team as owner, at least 2 retries, and a timeout")
        if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)+", task.task_id.rsplit(".", 1)[-1]):
            found.append(f"{task.task_id}: not verb_noun")
        if getattr(task, "retry_policy", None) is None:
            found.append(f"{task.task_id}: no retry policy")
    return found


def test_dag_folder_when_parsed_then_has_no_import_error(bag: DagBag) -> None:
    assert bag.import_errors == {}


def test_dag_folder_when_parsed_then_has_one_ingest_dag_per_source_and_cadence(bag: DagBag) -> None:
    ingest = {dag_id for dag_id in bag.dags if dag_id.startswith("ingest__")}
    assert ingest == {f"ingest__{slug}__{cadence}" for slug, spec in SOURCES.items() for cadence in spec.cadences}
    assert set(bag.dags) - ingest == {
        "build_planner_marts",
        "backfill_history",
        "verify_store",
        "publish_docs",
        "stream_ticks",
        "archive_ticks",
        "repair_gaps",
        "expire_ticks",
    }


def test_dags_when_checked_then_keep_every_policy(bag: DagBag) -> None:
    assert {dag_id: found for dag_id, dag in bag.dags.items() if (found := problems(dag))} == {}


def test_policies_when_a_dag_breaks_them_then_each_is_named() -> None:
    with DAG("Bad_DAG", schedule=None, tags=["whatever"]) as bad:
        BaseOperator(task_id="task", retries=0, execution_timeout=timedelta(seconds=1))
    found = " ".join(problems(bad))
    for part in ("dag_id", "doc_md", "closed list", "Layer", "deadline", "owner", "verb_noun", "retry policy"):
        assert part in found


def test_ingest_dags_when_built_then_every_feed_ends_in_its_asset_and_asks_within_its_pool(bag: DagBag) -> None:
    for slug, spec in SOURCES.items():
        for cadence in spec.cadences:
            dag = bag.dags[f"ingest__{slug}__{cadence}"]
            for feed in spec.feeds_at(cadence):
                publish = dag.get_task(f"{feed.name}.publish_batch")
                assert [asset.name for asset in publish.outlets] == [f"raw.{feed.dataset}.{slug}"]
                assert dag.get_task(f"{feed.name}.land_payload").pool == spec.pool
                assert dag.get_task(f"{feed.name}.validate_batch").downstream_task_ids == {publish.task_id}


def test_live_ticks_when_scheduled_then_every_shard_starts_in_a_triggerer_and_one_run_follows_the_other(
    bag: DagBag,
) -> None:
    dag = bag.dags["stream_ticks"]
    assert {task.task_id: task.start_trigger_args.trigger_kwargs["shard"] for task in dag.tasks} == {
        f"stream_{shard}": shard for shard in shard_names()
    }
    assert all(task.start_from_trigger and "since" in task.template_fields for task in dag.tasks)
    assert (type(dag.timetable).__name__, dag.max_active_runs) == ("ContinuousTimetable", 1)
    session = timedelta(seconds=dag.tasks[0].session_seconds)
    assert all(session < task.execution_timeout < dag.dagrun_timeout for task in dag.tasks)
    # A shard that fails at its session's end holds up the next run no longer than the other shards' pumps linger.
    assert all(task.max_retry_delay < timedelta(seconds=task.settings["linger_seconds"] / 2) for task in dag.tasks)


def test_live_ticks_when_triggerers_have_queues_then_workers_defer_them_to_theirs() -> None:
    code = (
        "import sys; sys.path.insert(0, 'plugins');"
        "from airflow.dag_processing.dagbag import DagBag; bag = DagBag('dags/stream_ticks.py');"
        "tasks = bag.dags['stream_ticks'].tasks;"
        "print({(task.start_from_trigger, task.start_trigger_args, task.queue) for task in tasks})"
    )
    environment = {**os.environ, "AIRFLOW__TRIGGERER__QUEUES_ENABLED": "True"}
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert out.stdout.strip().splitlines()[-1:] == ["{(False, None, 'streams')}"], out.stderr


def test_marts_when_ticks_are_archived_then_follow(bag: DagBag) -> None:
    followed = {asset.name for asset in bag.dags["build_planner_marts"].timetable.asset_condition.objects}
    for dataset in ("trade_bars", "liquidations", "order_books"):
        for source in {one.source for one in INSTRUMENTS}:
            assert f"raw.{dataset}.{source}" in followed


def test_inventory_when_written_again_then_equals_what_is_committed(bag: DagBag) -> None:
    text = dag_inventory.README.read_text("utf-8")
    assert dag_inventory.readme(text, bag.dags.values()) == text, "run `make generate`"
    files = {path.name for path in DAGS.glob("*.py")}
    assert files == set(re.findall(r"^\| `(\w+\.py)` \|", text, re.M))


def test_inventory_when_a_dag_is_new_then_the_committed_one_is_stale(bag: DagBag) -> None:
    text = dag_inventory.README.read_text("utf-8")
    with DAG("watch_news", schedule=None, tags=[Kind.NOW, Tier.THREE]) as new:
        pass
    assert "| `watch_news` | by hand | now | 3 | nothing |" in dag_inventory.readme(text, [*bag.dags.values(), new])
    with pytest.raises(ValueError, match="lacks"):
        dag_inventory.readme("# no marker", [])


def test_dag_files_when_read_then_are_wiring(bag: DagBag) -> None:
    for path in DAGS.glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 120, path.name
        assert not re.search(r"Variable\.get|\bselect\s.+\sfrom\s|requests\.|open\(", text, re.I), path.name


def test_dag_folder_when_imported_then_heavy_libraries_stay_out() -> None:
    code = (
        "import sys, pathlib, runpy; sys.path.insert(0, 'plugins');"
        "[runpy.run_path(str(p)) for p in sorted(pathlib.Path('dags').glob('*.py'))];"
        "print([m for m in ('pandas', 'pyarrow', 'ccxt', 'great_expectations', 'dbt', 'boto3') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], cwd=Path(ROOT), capture_output=True, text=True, check=True)
    assert out.stdout.strip().splitlines()[-1] == "[]"
