"""The one expectation of ours. Importing this module imports Great Expectations: only functions do."""

from __future__ import annotations

from typing import Any, ClassVar

from great_expectations.expectations import UnexpectedRowsExpectation


class NoFailingRows(UnexpectedRowsExpectation):  # type: ignore[misc]
    """Holds if a query over the batch yields no row.

    The base class fetches the rows as well, running each query a second time; we only count.
    """

    metric_dependencies: ClassVar[tuple[str, ...]] = ("unexpected_rows_query.row_count",)

    def _validate(
        self, metrics: dict[str, Any], runtime_configuration: Any = None, execution_engine: Any = None
    ) -> dict[str, Any]:
        count = metrics["unexpected_rows_query.row_count"]
        return {"success": count == 0, "result": {"observed_value": count}}
