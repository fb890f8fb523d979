"""Parsing the whole DAG folder against parsing one empty DAG file.

Two figures: each parse in a process of its own (start and imports included on both sides, as `airflow dags` does), and
each parse in a fork of a process that has imported Airflow (as the dag-processor does, file by file; here the whole
folder in one fork).
"""

from __future__ import annotations

import importlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks._report import figure, note, seconds

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5
EMPTY = 'from airflow.sdk import DAG\n\nwith DAG("empty", schedule=None):\n    pass\n'
PARSE = (
    "import sys; from airflow.dag_processing.dagbag import DagBag;"
    "bag = DagBag(sys.argv[1]); assert not bag.import_errors"
)


def main() -> None:
    """Medians of five interleaved runs."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "dags"
        folder.mkdir()
        (folder / "empty.py").write_text(EMPTY)
        os.environ |= {
            "AIRFLOW_HOME": scratch,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "PYTHONPATH": str(ROOT / "plugins"),
        }
        sys.path.insert(0, str(ROOT / "plugins"))
        _compare("dag_parse_whole_folder", _in_new_process, folder)
        importlib.import_module("airflow.dag_processing.dagbag")
        _compare("dag_parse_whole_folder_forked", _in_fork, folder)


def _compare(name: str, parse: Callable[[Path], float], empty: Path) -> None:
    parse(empty)
    pairs = [(parse(ROOT / "dags"), parse(empty)) for _ in range(RUNS)]
    ours, rival = (statistics.median(times) for times in zip(*pairs, strict=True))
    note(f"{name}: {RUNS} runs each, {min(p[0] for p in pairs):.2f}-{max(p[0] for p in pairs):.2f} s")
    figure(name, ours, "s", against="one empty DAG file", against_value=rival, bar="<= 3")


def _in_new_process(target: Path) -> float:
    command = [sys.executable, "-c", PARSE, str(target)]
    return seconds(lambda: subprocess.run(command, check=True, capture_output=True))


def _in_fork(target: Path) -> float:
    from airflow.dag_processing.dagbag import DagBag

    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        elapsed = seconds(lambda: DagBag(str(target)))
        os.write(writer, repr(elapsed).encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as pipe:
        return float(pipe.read())


if __name__ == "__main__":
    main()
