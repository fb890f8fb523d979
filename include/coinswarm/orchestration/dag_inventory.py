"""Writes the table of DAGs in `dags/README.md` from the DAG folder itself; `make generate` runs it."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import DAG

REPOSITORY = Path(__file__).resolve().parents[3]
README = REPOSITORY / "dags" / "README.md"
BEGIN = "<!-- written by `make generate`; do not edit below -->"


def table(dags: Iterable[DAG]) -> str:
    """Markdown table of DAGs by id: schedule, class and tier tags, and the assets that the DAG announces."""
    rows = ["| DAG | schedule | class | tier | announces |", "|---|---|---|---|---|"]
    for dag in sorted(dags, key=lambda dag: dag.dag_id):
        labels = dict(str(tag).split(":", 1) for tag in dag.tags)
        assets = dict.fromkeys(outlet.name for task in dag.tasks for outlet in task.outlets)
        announced = ", ".join(f"`{name}`" for name in assets) or "nothing"
        rows.append(
            f"| `{dag.dag_id}` | {_schedule(dag.timetable)} | {labels['class']} | {labels['tier']} | {announced} |"
        )
    return "\n".join(rows) + "\n"


def readme(text: str, dags: Iterable[DAG]) -> str:
    """The README with its table replaced; what stands before the marker is written by hand.

    Raises:
        ValueError: the marker is missing.
    """
    head, marker, _ = text.partition(BEGIN)
    if not marker:
        raise ValueError(f"{README.name} of the DAG folder lacks the line {BEGIN}")
    return f"{head}{BEGIN}\n\n{table(dags)}"


def _schedule(timetable: Any) -> str:
    if getattr(timetable, "timetable", None) is not None:
        return f"{_schedule(timetable.timetable)}, and after any of its assets"
    if type(timetable).__name__ == "ContinuousTimetable":
        return "always"
    expression = getattr(timetable, "expression", None)
    return f"`{expression}`" if expression else "by hand"


def main() -> int:
    """Write the file; prints its path if it changed."""
    with tempfile.TemporaryDirectory() as home:
        # Airflow reads these when it is imported, and would otherwise make a folder in $HOME.
        os.environ.setdefault("AIRFLOW_HOME", home)
        os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")
        os.environ.setdefault("AIRFLOW__LOGGING__LOGGING_LEVEL", "WARNING")
        sys.path.insert(0, str(REPOSITORY / "plugins"))
        from airflow.dag_processing.dagbag import DagBag

        bag = DagBag(str(REPOSITORY / "dags"))
    if bag.import_errors:
        print(bag.import_errors, file=sys.stderr)
        return 1
    old = README.read_text("utf-8")
    new = readme(old, bag.dags.values())
    if new != old:
        README.write_text(new, "utf-8")
        print(README.relative_to(REPOSITORY))
    return 0


if __name__ == "__main__":
    sys.exit(main())
