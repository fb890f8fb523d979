"""Data Docs of the quality gate and dbt docs, rendered for the pages in this UI and kept in the lake."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from coinswarm.orchestration import dag_docs, tags
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import START, TASK_DEFAULTS
from coinswarm.orchestration.docs_tasks import publish_data_docs, publish_dbt_docs

with DAG(
    dag_id="publish_docs",
    description="Renders Great Expectations Data Docs and dbt docs",
    schedule=CronTriggerTimetable("10 * * * *", timezone="UTC", run_immediately=True),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args={**TASK_DEFAULTS, "retries": 2},
    dagrun_timeout=timedelta(minutes=30),
    deadline=done_within(timedelta(minutes=30)),
    tags=[tags.Layer.OPS, tags.Tier.THREE, tags.Kind.NOW],
    doc_md=dag_docs.render(
        {
            "What it produces": "Pages *Browse → Data Docs* and *Browse → dbt docs*; copies in the lake, `data_docs/`.",
            "Source and licence": "`ops.quality_results` and the dbt project.",
            "Schedule and window": "Hourly, of the latest gate result of each feed and the current models.",
            "If it fails (triage)": "Read the log: it needs only the store, the lake and a writable documents folder.",
            "Safe to re-run?": "Yes: pages are replaced.",
            "Owner, tier, deadline": "data-engineering, tier 3, done within 30 minutes of being queued.",
        }
    ),
) as dag:
    publish_data_docs()
    publish_dbt_docs.override(pool="dbt")()
