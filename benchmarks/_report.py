"""One JSON line per figure, ours beside the rival's, both measured in the same run."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any


def figure(
    name: str,
    value: float,
    unit: str,
    *,
    against: str,
    against_value: float,
    bar: str,
    ratio: float | None = None,
) -> bool:
    """Print a figure and whether its bar holds.

    `bar` is a comparison of the ratio ours / rival's, such as `>= 0.4` or `<= 2`; empty if the figure has none.
    """
    quotient = value / against_value if ratio is None else ratio
    sign, _, limit = bar.partition(" ")
    holds = {"": True, ">=": quotient >= float(limit or 0), "<=": quotient <= float(limit or 0)}[sign]
    line = {
        "figure": name,
        "value": round(value, 4),
        "unit": unit,
        "against": against,
        "against_value": round(against_value, 4),
        "ratio": round(quotient, 3),
        "bar": bar,
        "holds": holds,
    }
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
    return holds


def missing(name: str, against: str, why: str) -> None:
    """Print that a comparison could not be made, and why."""
    sys.stdout.write(json.dumps({"figure": name, "against": against, "missing": why}) + "\n")
    sys.stdout.flush()


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def note(text: str) -> None:
    """Say something about the run, beside the figures."""
    sys.stderr.write(text + "\n")
