"""Planner marts: dbt in process, after new raw data or at least every 15 minutes."""

from datetime import timedelta

from airflow.sdk import DAG, AssetAny, AssetOrTimeSchedule, CronTriggerTimetable

from coinswarm.orchestration import assets, dag_docs, tags
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import START, TASK_DEFAULTS
from coinswarm.orchestration.mart_tasks import build_mart_group, take_watermark

GROUPS = {
    "market": (
        "market_aggregates",
        "positioning_by_venue",
        "planner_positioning",
        "liquidation_heatmap",
        "volatility_surface",
    ),
    "context": ("planner_sentiment", "planner_onchain", "planner_macro"),
    "features": ("planner_features",),
}

with DAG(
    dag_id="build_planner_marts",
    description="Staging, intermediate and planner marts; appends versions where values changed",
    schedule=AssetOrTimeSchedule(
        timetable=CronTriggerTimetable("*/15 * * * *", timezone="UTC"),
        assets=AssetAny(*dict.fromkeys((*assets.all_raw(), *assets.of_ticks()))),
    ),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args={**TASK_DEFAULTS, "retries": 2, "pool": "dbt"},
    dagrun_timeout=timedelta(hours=1),
    deadline=done_within(timedelta(minutes=15)),
    tags=[tags.Layer.MARTS, tags.Tier.ONE, tags.Kind.NOW],
    doc_md=dag_docs.render(
        {
            "What it produces": "New versions in `marts.*` for every bucket that new raw rows touched.",
            "Source and licence": "`raw.*`; the licences of the sources apply.",
            "Schedule and window": (
                "After any `raw.*` asset event, and every 15 minutes at the latest. The run takes one watermark with "
                "`ops.safe_now()` and works through what became known since the last one."
            ),
            "If it fails (triage)": (
                "The log names the dbt node and its error; per-node results are in `ops.mart_runs`. "
                "The next run picks up everything since the last good watermark."
            ),
            "Safe to re-run?": "Yes: a version is appended only where values changed.",
            "Owner, tier, deadline": "data-engineering, tier 1, done within 15 minutes of being queued.",
        }
    ),
) as dag:
    watermark = take_watermark()
    previous = watermark
    for group, marts in GROUPS.items():
        build = build_mart_group.override(task_id=f"build_{group}_marts", outlets=[assets.mart(m) for m in marts])
        built = build(group, watermark)
        previous >> built
        previous = built
