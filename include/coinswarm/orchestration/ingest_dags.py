"""The factory of ingest DAGs: one per source and cadence, each feed as land → load → gate → publish."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, BaseOperator, CronDataIntervalTimetable, TaskGroup

from coinswarm.orchestration import assets, dag_docs, tags
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import START, TASK_DEFAULTS
from coinswarm.orchestration.tasks import land_payload, load_staging, publish_batch
from coinswarm.sources.spec import Cadence, Mode, SourceSpec

CRON = {Cadence.QUARTER_HOURLY: "*/15 * * * *", Cadence.HOURLY: "0 * * * *", Cadence.DAILY: "0 0 * * *"}


def ingest_dag_id(spec: SourceSpec, cadence: Cadence) -> str:
    """`ingest__<slug>__<cadence>`."""
    return f"ingest__{spec.slug}__{cadence.value}"


def ingest_dag(spec: SourceSpec, cadence: Cadence, gate: type[BaseOperator]) -> DAG:
    """The DAG of a source and cadence.

    Args:
        spec: the source.
        cadence: which of its feeds.
        gate: operator class that validates a staged batch; takes `loaded`, the previous task's result.
    """
    feeds = spec.feeds_at(cadence)
    now_only = all(feed.mode is Mode.NOW for feed in feeds)
    with DAG(
        dag_id=ingest_dag_id(spec, cadence),
        description=f"{spec.title}: {', '.join(feed.name for feed in feeds)}",
        schedule=CronDataIntervalTimetable(CRON[cadence], timezone="UTC"),
        start_date=START,
        catchup=False,
        max_active_runs=4,
        default_args=TASK_DEFAULTS,
        dagrun_timeout=timedelta(hours=2),
        deadline=done_within(cadence.period),
        is_paused_upon_creation=not spec.enabled,
        doc_md=dag_docs.ingest(spec, cadence),
        tags=[
            tags.Layer.RAW,
            tags.family(spec.domain),
            tags.source(spec.slug),
            tags.Tier(f"tier:{spec.tier}"),
            tags.Kind.NOW if now_only else tags.Kind.INTERVAL,
        ],
    ) as dag:
        for feed in feeds:
            with TaskGroup(feed.name, tooltip=f"{feed.dataset} of {spec.title}"):
                landed = land_payload.override(pool=spec.pool)(spec.slug, feed.name)
                validated: Any = gate(task_id="validate_batch", loaded=load_staging(landed))
                publish_batch.override(outlets=[assets.raw(feed.dataset, spec.slug)])(validated.output)
    return dag
