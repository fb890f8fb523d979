"""Deadlines: a run that is not done in time calls `alerts.deadline_missed`. The young API stays in here."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import AsyncCallback, DeadlineAlert, DeadlineReference

from coinswarm.orchestration.alerts import deadline_missed


def done_within(interval: timedelta) -> DeadlineAlert:
    """Alert if a run is not finished `interval` after it was queued."""
    return DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=interval,
        callback=AsyncCallback(deadline_missed, kwargs={"allowed": str(interval)}),
    )
