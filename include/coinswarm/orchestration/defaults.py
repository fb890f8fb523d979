"""What every DAG and task has unless it says otherwise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from coinswarm.orchestration.alerts import task_failed
from coinswarm.orchestration.retries import ProviderRetryPolicy

# No DAG catches up by itself: the date only has to lie in the past.
START = datetime(2026, 1, 1, tzinfo=UTC)

TASK_DEFAULTS: dict[str, Any] = {
    "owner": "data-engineering",
    "retries": 4,
    "retry_delay": timedelta(seconds=30),
    "retry_policy": ProviderRetryPolicy(),
    "execution_timeout": timedelta(minutes=30),
    "on_failure_callback": task_failed,
}
