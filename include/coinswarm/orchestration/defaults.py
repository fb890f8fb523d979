"""What every task has unless it says otherwise."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from coinswarm.orchestration.retries import ProviderRetryPolicy

TASK_DEFAULTS: dict[str, Any] = {
    "owner": "data-engineering",
    "retries": 4,
    "retry_delay": timedelta(seconds=30),
    "retry_policy": ProviderRetryPolicy(),
    "execution_timeout": timedelta(minutes=30),
}
