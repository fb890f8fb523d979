"""Daily proof that the store holds what its ledger says, and that marts can be rebuilt as of an earlier moment."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from coinswarm.orchestration import dag_docs, tags
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import TASK_DEFAULTS
from coinswarm.orchestration.proof_tasks import rebuild_marts_as_of, verify_hash_chain

with DAG(
    dag_id="verify_store",
    description="Hash chain of every batch, and marts rebuilt as of an earlier run",
    # Without a start date the first run is the next one: a new store has nothing to prove yet.
    schedule=CronTriggerTimetable("40 3 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={**TASK_DEFAULTS, "retries": 2, "execution_timeout": timedelta(hours=3)},
    dagrun_timeout=timedelta(hours=4),
    deadline=done_within(timedelta(hours=4)),
    tags=[tags.Layer.OPS, tags.Tier.TWO, tags.Kind.NOW],
    doc_md=dag_docs.render(
        {
            "What it produces": "Nothing but a verdict: green means that every batch and every checked mart agrees.",
            "Source and licence": "`ops.batches`, `raw.*`, `marts.*`.",
            "Schedule and window": "Daily at 03:40 UTC, over all batches and a sample of earlier mart runs.",
            "If it fails (triage)": (
                "The error names the batch or mart row. Do not repair data in place: find out who wrote as owner, "
                "then compare with the batch's Parquet object in the lake."
            ),
            "Safe to re-run?": "Yes: it only reads.",
            "Owner, tier, deadline": "data-engineering, tier 2, done within 4 hours of being queued.",
        }
    ),
) as dag:
    verify_hash_chain()
    rebuild_marts_as_of.override(pool="dbt")()
