"""Deadlines: a run that is not done in time calls `alerts.deadline_missed`. The young API stays in here."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import AsyncCallback, BaseDeadlineReference, DeadlineAlert

from coinswarm.orchestration.alerts import deadline_missed

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class RunQueued(BaseDeadlineReference):
    """When a run was queued; `plugins/run_deadlines.py` registers it.

    Airflow's own `DAGRUN_QUEUED_AT` would do, but in 3.3.0 to 3.3.2 no task of a run that has such a deadline can be
    cleared: https://github.com/apache/airflow/issues/70368.
    """

    required_kwargs: ClassVar[set[str]] = {"dag_id", "run_id"}

    def _evaluate_with(self, *, session: Session, dag_id: str, run_id: str, **kwargs: Any) -> datetime | None:
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        return session.scalar(select(DagRun.queued_at).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))


def done_within(interval: timedelta) -> DeadlineAlert:
    """Alert if a run is not finished `interval` after it was queued."""
    return DeadlineAlert(
        reference=RunQueued(),
        interval=interval,
        callback=AsyncCallback(deadline_missed, kwargs={"allowed": str(interval)}),
    )
