"""Memory of the pump's process over ten minutes at 5,000 messages a second: flat, or does something pile up?

`COINSWARM_BENCH_MINUTES` and `COINSWARM_BENCH_RATE` change the run. The resident set at the end of the first minute,
when every buffer has been used, is the rival of that of the last minute.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

import psutil  # type: ignore[import-untyped]

from benchmarks._report import figure, note
from benchmarks.ticks import processes

MINUTES = float(os.environ.get("COINSWARM_BENCH_MINUTES", "10"))
RATE = int(os.environ.get("COINSWARM_BENCH_RATE", "5000"))
EVERY_SECONDS = 5


def main() -> None:
    count = int(RATE * 60 * MINUTES)
    with processes.bare_redis() as port, processes.frame_server(count, rate=RATE) as url:
        argv = [sys.executable, "-m", "benchmarks.ticks.pump_client", url, str(port), str(count)]
        client = subprocess.Popen(argv, cwd=processes.REPOSITORY, stdout=subprocess.PIPE, text=True)
        process = psutil.Process(client.pid)
        started, sizes = time.monotonic(), []
        while client.poll() is None and time.monotonic() - started < MINUTES * 60 - EVERY_SECONDS:
            time.sleep(EVERY_SECONDS)
            sizes.append(process.memory_info().rss / 1e6)
        said, _ = client.communicate(timeout=120)
    note(f"{said.strip()}; resident set every {EVERY_SECONDS} s, MB: {' '.join(f'{size:.0f}' for size in sizes)}")
    a_minute = max(1, 60 // EVERY_SECONDS)
    first, last = statistics.median(sizes[a_minute // 2 : a_minute]), statistics.median(sizes[-a_minute // 2 :])
    name = f"tick_memory_after_{MINUTES:g}_minutes_at_{RATE}"
    figure(name, last, "MB", against="the same process after one minute", against_value=first, bar="<= 1.1")


if __name__ == "__main__":
    main()
