"""Backfill months of history of one source and dataset, in resumable chunks."""

from datetime import timedelta

from airflow.sdk import DAG, Param

from coinswarm.orchestration import dag_docs, tags
from coinswarm.orchestration.backfill_tasks import BACKFILLED, plan_chunks, work_through_chunks
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import START, TASK_DEFAULTS
from coinswarm.sources import SOURCES

PARAMS = {
    "source": Param("binance", type="string", enum=sorted(SOURCES), description="Slug of the provider."),
    "dataset": Param(
        "ohlcv",
        type="string",
        enum=sorted({feed.dataset for spec in SOURCES.values() for feed in spec.feeds}),
        description="Dataset to bring in.",
    ),
    "timeframe": Param("", type="string", description="Bar length (`1h`), for ohlcv; empty: every one the source has."),
    "instruments": Param(
        [],
        type="array",
        items={"type": "string"},
        description="Canonical instruments (`BTC-USDT-PERP`), one a line; empty: all that the source lists.",
    ),
    "start": Param("2026-11-01", type="string", description="First moment, UTC: a date or an ISO time."),
    "end": Param("2026-11-02", type="string", description="End, not included, UTC: a date or an ISO time."),
}

with DAG(
    dag_id="backfill_history",
    description="History of one source and dataset, in chunks that a retry resumes",
    schedule=None,
    start_date=START,
    catchup=False,
    max_active_runs=2,
    params=PARAMS,
    default_args={**TASK_DEFAULTS, "execution_timeout": timedelta(hours=12)},
    dagrun_timeout=timedelta(days=2),
    deadline=done_within(timedelta(days=1)),
    tags=[tags.Layer.RAW, tags.Tier.THREE, tags.Kind.INTERVAL],
    doc_md=dag_docs.render(
        {
            "What it produces": "Revisions in `raw.<dataset>` for the asked source, instruments and range.",
            "Source and licence": "The chosen provider; its SPEC names docs and licence.",
            "Schedule and window": "By hand: *Trigger* with the documented parameters. The range is half-open, UTC.",
            "If it fails (triage)": (
                "The log names the chunk. Clear the task: finished chunks are skipped, the rest goes on. "
                "Progress is in the log and in the task state `progress`."
            ),
            "Safe to re-run?": "Yes. Unchanged records add nothing; changed ones add a revision, known from then on.",
            "Owner, tier, deadline": "data-engineering, tier 3, done within a day of being queued.",
        }
    ),
) as dag:
    work_through_chunks.override(outlets=[BACKFILLED])(plan_chunks())
