"""Archive of live ticks: Redis Streams to the lake and raw, every five minutes and when many wait."""

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, AssetWatcher, CronTriggerTimetable

from coinswarm.orchestration import dag_docs, tags
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import START, TASK_DEFAULTS
from coinswarm.orchestration.tick_backlog import VARIABLE, WAKE_ENTRIES
from coinswarm.orchestration.tick_tasks import archive_streams
from tick_backlog import TickBacklogTrigger

BACKLOG = Asset(
    name="ticks.backlog",
    group="ops",
    watchers=[AssetWatcher(name="waiting_for_the_archive", trigger=TickBacklogTrigger())],
)

with DAG(
    dag_id="archive_ticks",
    description="Trades, liquidations, a book a minute, and bars of finished minutes, each once",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("*/5 * * * *", timezone="UTC"), assets=BACKLOG),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    default_args={**TASK_DEFAULTS, "execution_timeout": timedelta(minutes=10)},
    dagrun_timeout=timedelta(minutes=30),
    deadline=done_within(timedelta(minutes=10)),
    tags=[tags.Layer.RAW, tags.family("exchanges"), tags.Tier.ONE, tags.Kind.STREAM],
    doc_md=dag_docs.render(
        {
            "What it produces": (
                "`raw.trades`, `raw.liquidations`, `raw.order_books`, `raw.trade_bars`; verbatim entries in the lake."
            ),
            "Source and licence": "The streams that `stream_ticks` writes; the exchanges' terms apply.",
            "Schedule and window": (
                "Every five minutes, what the consumer group was not given yet, and as soon as "
                f'{WAKE_ENTRIES:,} entries wait (Variable `{VARIABLE}`, `{{"wake_entries": 50000}}`) or somebody makes '
                "an event of the asset `ticks.backlog`. Redis keeps what is not acknowledged for an hour at most: an "
                "outage of the archive that is shorter loses nothing."
            ),
            "If it fails (triage)": (
                "*GateFailed* names the batch: its entries are in the lake, its trades are an open gap, all others "
                "were archived. *StoreUnavailable*: the next run completes what was begun."
            ),
            "Safe to re-run?": "Yes, and it may be killed anywhere: each trade is in raw once.",
            "Owner, tier, deadline": "data-engineering, tier 1, done within 10 minutes of being queued.",
        }
    ),
) as dag:
    archive_streams()
