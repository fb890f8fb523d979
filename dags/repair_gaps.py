"""Holes in the live trades: asked for again over REST, where the venue allows."""

from datetime import timedelta

from airflow.sdk import DAG, CronTriggerTimetable, Param

from coinswarm.orchestration import dag_docs, tags
from coinswarm.orchestration.deadlines import done_within
from coinswarm.orchestration.defaults import START, TASK_DEFAULTS
from coinswarm.orchestration.tick_tasks import repair_open_gaps
from coinswarm.sources.trade_history import HISTORIES

# Without a source it repairs, and asks for nothing more.
PARAMS = {
    "source": Param(
        None,
        type=["null", "string"],
        enum=[None, *sorted(HISTORIES)],
        description="Also fetch all trades of a past time: of this source.",
    ),
    "instruments": Param(
        [],
        type="array",
        items={"type": "string"},
        description="Canonical instruments (`BTC-USDT-PERP`), one a line; empty: all that the source gives trades of.",
    ),
    "start": Param("", type="string", description="First moment, UTC: a date or an ISO time."),
    "end": Param("", type="string", description="End, not included, UTC; it has to be over."),
}

with DAG(
    dag_id="repair_gaps",
    description="Open gaps of trades, refetched by number or time within the venues' rate budgets",
    schedule=CronTriggerTimetable("7-59/10 * * * *", timezone="UTC"),
    start_date=START,
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={**TASK_DEFAULTS, "retries": 2, "execution_timeout": timedelta(minutes=20)},
    dagrun_timeout=timedelta(hours=1),
    deadline=done_within(timedelta(minutes=30)),
    tags=[tags.Layer.RAW, tags.family("exchanges"), tags.Tier.TWO, tags.Kind.STREAM],
    doc_md=dag_docs.render(
        {
            "What it produces": "Missing rows of `raw.trades`, revised bars, and revisions in `ops.stream_gaps`.",
            "Source and licence": "REST trade history of the exchanges; their terms apply.",
            "Schedule and window": (
                "Every ten minutes, over all open gaps of trades. *Trigger* with a source and a past time to have its "
                "trades as well, for instance those of the hours before the feeds were switched on; six days back at "
                "most, and not of Binance spot, which gives trades by number only."
            ),
            "If it fails (triage)": (
                "The log names the venue. A gap that it cannot fill stays `open` or `partly_repaired` in "
                "`ops.stream_gaps_current`, with the reason in `detail`. *GateFailed*: what came back for some was "
                "refused; all others were looked at."
            ),
            "Safe to re-run?": "Yes: only what raw lacks is taken.",
            "Owner, tier, deadline": "data-engineering, tier 2, done within 30 minutes of being queued.",
        }
    ),
) as dag:
    repair_open_gaps()
