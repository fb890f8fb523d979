"""Retention of live trades: days that are older leave raw; the lake keeps them."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable

from coinswarm.orchestration import dag_docs, tags
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import TASK_DEFAULTS
from coinswarm.orchestration.tick_tasks import expire_trades

with DAG(
    dag_id="expire_ticks",
    description="Drops days of raw.trades that are older than a week, as entries of the ledger",
    schedule=CronTriggerTimetable("25 2 * * *", timezone="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={**TASK_DEFAULTS, "retries": 2},
    dagrun_timeout=timedelta(hours=2),
    deadline=done_within(timedelta(hours=2)),
    tags=[tags.Layer.OPS, tags.Tier.THREE, tags.Kind.NOW],
    doc_md=dag_docs.render(
        {
            "What it produces": "Entries in `ops.expiries`, and room: bars stay in raw, all trades in the lake.",
            "Source and licence": "`raw.trades`.",
            "Schedule and window": "Daily at 02:25 UTC, over days that ended more than a week ago.",
            "If it fails (triage)": (
                "*IntegrityError*: the day's rows are not what the ledger says, or a file is missing in the lake. "
                "That day and later ones stay; run `coinswarm verify`."
            ),
            "Safe to re-run?": "Yes: what has left does not leave again.",
            "Owner, tier, deadline": "data-engineering, tier 3, done within 2 hours of being queued.",
        }
    ),
) as dag:
    expire_trades()
