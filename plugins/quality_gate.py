"""The operator that runs the quality gate on a staged batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from coinswarm.batches import Batch
from coinswarm.orchestration.connections import resolve

if TYPE_CHECKING:
    from airflow.sdk import Context


class QualityGateOperator(BaseOperator):
    """Validate a staged batch with Great Expectations, in PostgreSQL.

    Takes the result of `load_staging`; returns the batch with its score. A refused batch fails the task with a readable
    summary: nothing is published, landed bytes and quarantined rows stay.
    """

    template_fields = ("loaded",)
    ui_color = "#d9ead3"

    def __init__(self, *, loaded: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loaded = loaded

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the gate.

        Raises:
            GateFailed: the batch was refused; the message lists the first failures.
        """
        from coinswarm.ingest.pipeline import validate

        report = validate(Batch.from_json(self.loaded["batch"]), resolve)
        self.log.info("gate passed: %s", report)
        return {"batch": self.loaded["batch"], **report}
