"""Tasks that prove the store: hash chains, and marts rebuilt as of earlier moments."""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import task

from coinswarm.orchestration.connections import resolve

log = logging.getLogger(__name__)


@task
def verify_hash_chain() -> list[dict[str, Any]]:
    """Recompute every batch and the chain of every dataset."""
    from coinswarm.orchestration.verification import verify_chain

    reports = list(verify_chain(resolve))
    for report in reports:
        log.info("%s", report)
    return reports


@task
def rebuild_marts_as_of() -> list[dict[str, Any]]:
    """Rebuild marts from raw as of an earlier run, and compare with what planners saw then."""
    from coinswarm.orchestration.verification import verify_marts

    reports = list(verify_marts(resolve))
    for report in reports:
        log.info("%s", report)
    return reports
