"""Tasks of the live feeds behind the pump: `archive_ticks`, `repair_gaps`, and the retention of trades.

For the DAG files: each task resolves its connections itself (`pg_ingest`, `s3_lake`, `redis_ticks`, and for the repair
`http_<source>`), may be killed and retried at any moment, and returns counts, never data. Which assets have news is
known only at run time: the aliases below become `raw.<dataset>.<source>`, so a DAG that follows one of these is woken.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from airflow.sdk import AssetAlias, get_current_context, task

from coinswarm.orchestration import assets
from coinswarm.orchestration.connections import resolve

log = logging.getLogger(__name__)

ARCHIVED = AssetAlias("archived_ticks", group="raw")
REPAIRED = AssetAlias("repaired_ticks", group="raw")


@task(outlets=[ARCHIVED])
def archive_streams(seconds: float = 240.0) -> dict[str, Any]:
    """Archive what is in the streams: trades, liquidations, a book a minute, and the bars of finished minutes.

    `seconds` is how long it goes on reading; keep it below the schedule, and `execution_timeout` twice as long. At most
    one archive works at a time, so `max_active_runs=1` only spares a run that would do nothing. Retries are cheap.
    """
    from coinswarm.ingest.archive import archive

    done = archive(resolve, seconds=seconds).to_json()
    log.info("archived %s", done)
    _tell(ARCHIVED, done["published"], done)
    return done


@task(outlets=[REPAIRED])
def repair_open_gaps(seconds: float = 600.0) -> dict[str, Any]:
    """Fetch again what open gaps of trades lack, where the venue allows, and say of each what became of it.

    With the parameters `source`, `start` and `end` it first asks for all trades of that time, as a gap of its own.
    It keeps to the sources' rate budgets by itself; a venue that does not answer is left for the next run. It asks
    several sources, so it belongs into no pool of one of them; `max_active_runs=1`.
    """
    from coinswarm.ingest.repair import repair

    _request(get_current_context()["params"])
    done = repair(resolve, seconds=seconds).to_json()
    log.info("repaired %s", done)
    _tell(REPAIRED, done["published"], done)
    return done


@task
def expire_trades(keep_days: int = 7) -> dict[str, Any]:
    """Drop the days of `raw.trades` that are older than `keep_days`; once a day is enough. The lake keeps them all."""
    from coinswarm.ingest import retention

    expired = retention.expire_trades(resolve, keep_days=keep_days)
    return {"days": [one.day.isoformat() for one in expired], "rows": sum(one.rows for one in expired)}


def _request(params: Mapping[str, Any]) -> None:
    from coinswarm.ingest.requested_trades import request_trades
    from coinswarm.timeframes import Window, parse_moment

    if params["source"]:
        window = Window(parse_moment(params["start"]), parse_moment(params["end"]))
        opened = request_trades(resolve, params["source"], window, params["instruments"])
        log.info("asked for trades of %s in %s pieces, %s", params["source"], opened, window)


def _tell(alias: AssetAlias, published: Mapping[str, list[str]], counts: dict[str, Any]) -> None:
    events = get_current_context()["outlet_events"][alias]
    extra = {name: value for name, value in counts.items() if name != "published"}
    for dataset, sources in published.items():
        for source in sources:
            events.add(assets.raw(dataset, source), extra=extra)
