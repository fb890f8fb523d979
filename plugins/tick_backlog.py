"""The trigger that wakes `archive_ticks`: an asset event when too many ticks wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from coinswarm.orchestration.tick_backlog import in_airflow, wakes


class TickBacklogTrigger(BaseEventTrigger):
    """Fires with the number of entries that the archive was not given yet, each time that they have become too many."""

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path; there is nothing to set but the Variable `archive_ticks`."""
        return f"{__name__}.{type(self).__name__}", {}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, until cancelled."""
        async for waiting in wakes(in_airflow()):
            yield TriggerEvent({"waiting": waiting})
