"""Live ticks: one task per shard of venues' sockets, each deferred in a triggerer for a whole session."""

from datetime import timedelta

from airflow.configuration import conf
from airflow.sdk import DAG

from coinswarm.orchestration import dag_docs, tags
from coinswarm.orchestration.alerts import task_keeps_failing
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import START, TASK_DEFAULTS
from coinswarm.orchestration.tick_runs import VARIABLE
from coinswarm.ticks.shards import shard_names
from tick_stream import TickStreamOperator

SESSION = timedelta(hours=6)
# With queues the triggers go to triggerers of their own, which only a worker's deferral can say (decision 0011).
QUEUES = conf.getboolean("triggerer", "queues_enabled", fallback=False)

with DAG(
    dag_id="stream_ticks",
    description="Venues' WebSockets to Redis Streams, one deferred task per shard, session after session",
    schedule="@continuous",
    start_date=START,
    catchup=False,
    # Switched on by hand, or by the demo: sockets to every venue are a choice, and history comes first.
    is_paused_upon_creation=True,
    max_active_runs=1,
    default_args={
        **TASK_DEFAULTS,
        # For as long as a session lasts: every minute, after a few quick ones.
        "retries": 360,
        "retry_delay": timedelta(seconds=5),
        "retry_exponential_backoff": 2,
        "max_retry_delay": timedelta(minutes=1),
        "on_retry_callback": task_keeps_failing,
        "execution_timeout": SESSION + timedelta(minutes=30),
        "queue": "streams" if QUEUES else conf.get("operators", "default_queue"),
    },
    dagrun_timeout=SESSION + timedelta(hours=1),
    deadline=done_within(SESSION + timedelta(minutes=15)),
    tags=[tags.Layer.RAW, tags.family("exchanges"), tags.Tier.ONE, tags.Kind.STREAM],
    doc_md=dag_docs.render(
        {
            "What it produces": (
                "Redis Streams `trades:…`, `orderbook:…:snapshot`, `liquidations:…`, `funding:…`, `open_interest:…`, "
                "`volatility:…`, `cross_venue:…`, `arbitrage:…`, hashes `latest:…`; sessions, gaps and verdicts in "
                "`ops.stream_*`. `archive_ticks` brings them to `raw`."
            ),
            "Source and licence": "Public WebSockets of the exchanges, without keys; their terms apply.",
            "Schedule and window": (
                "Always. A session takes six hours; its pumps write on until those of the next session take over. "
                f'Variable `{VARIABLE}`, for instance `{{"off": ["deribit"], "session_seconds": 3600}}`, switches '
                "shards off and sets another length; it is read every 15 seconds. To end all: pause the DAG, then mark "
                "the run as failed."
            ),
            "If it fails (triage)": (
                "*Deferred* is the healthy state. A task's log has its changes of state and counters; live ones are in "
                "the hash `ticks:stats:<shard>`. A venue that is away does not fail the task: the pump comes back by "
                "itself, and the hole is in `ops.stream_gaps`. Red or retrying: read the log, mostly a connection."
            ),
            "Safe to re-run?": (
                "Yes. Clear or fail a task at any time: its pump stops at once, the next one goes on from the cursor "
                "in Redis, and what was missed meanwhile is a gap, of which `repair_gaps` fetches the trades."
            ),
            "Owner, tier, deadline": "data-engineering, tier 1, done within 15 minutes after its session.",
        }
    ),
) as dag:
    for shard in shard_names():
        TickStreamOperator(
            task_id=f"stream_{shard}",
            shard=shard,
            session_seconds=SESSION.total_seconds(),
            settings={"linger_seconds": 300.0},
            start_from_trigger=not QUEUES,
        )
