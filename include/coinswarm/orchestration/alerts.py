"""What happens when a task fails for good or a run is late: one line in the log, and a webhook where one is configured.

The webhook is the connection `alerts_webhook` (its host is the URL, its password a bearer token). Without it, as on a
developer's machine, nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from coinswarm.connections import Connection
from coinswarm.orchestration.connections import resolve

log = logging.getLogger("coinswarm.alerts")
WEBHOOK = "alerts_webhook"


def task_failed(context: Any) -> None:
    """Tell that a task has failed after its last try."""
    instance = context["task_instance"]
    notify(
        "task failed",
        dag=instance.dag_id,
        task=instance.task_id,
        run=context["run_id"],
        error=f"{type(context.get('exception')).__name__}: {str(context.get('exception'))[:500]}",
    )


def task_keeps_failing(context: Any) -> None:
    """Tell once that a task which is tried for hours has failed five times in a row."""
    if context["task_instance"].try_number == 5:
        task_failed(context)


async def deadline_missed(context: Any, allowed: str) -> None:
    """Tell that a run is not done within its deadline."""
    run = context.get("dag_run", {})
    # The triggerer's loop also carries the tick feeds: nothing may block it.
    await asyncio.to_thread(
        notify,
        "deadline missed",
        dag=run.get("dag_id"),
        run=run.get("dag_run_id") or run.get("run_id"),
        allowed=allowed,
    )


def notify(event: str, **facts: Any) -> None:
    """Log the event, and post it as JSON to the webhook if there is one; never raises."""
    log.error("%s: %s", event, ", ".join(f"{name}={value}" for name, value in facts.items()))
    hook = _webhook()
    if hook is None:
        return
    import requests

    headers = {"Authorization": f"Bearer {hook.password}"} if hook.password else {}
    try:
        requests.post(hook.host, json={"event": event, **facts}, headers=headers, timeout=5).raise_for_status()
    except requests.RequestException as error:
        log.warning("the alert could not be delivered: %s", type(error).__name__)


def _webhook() -> Connection | None:
    try:
        return resolve(WEBHOOK)
    except Exception:
        return None
