"""`make bench`: every benchmark in turn, each in a process of its own; one JSON line per figure on stdout."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    *("publish", "asof", "marts", "features", "dag_parse"),
    *("ticks", "tick_latency", "tick_memory", "archive", "trigger_jitter"),
)


def main(chosen: list[str]) -> int:
    """Run the named benchmarks, default all; the exit code counts those that could not be run."""
    unknown = sorted(set(chosen) - set(BENCHMARKS))
    if unknown:
        print(f"unknown benchmark {unknown[0]}; known: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    broken = 0
    for name in chosen or BENCHMARKS:
        print(f"-- {name}", file=sys.stderr, flush=True)
        broken += subprocess.run([sys.executable, "-m", f"benchmarks.bench_{name}"], check=False).returncode != 0
    return broken


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
