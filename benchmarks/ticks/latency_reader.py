"""A committee agent's view of latency: reads the streams as they grow, and notes when each message was there.

    python -m benchmarks.ticks.latency_reader REDIS_PORT COUNT TIMES_FILE STREAM STREAM

The streams are those of the frames' symbols, in that order. TIMES_FILE gets the monotonic time in nanoseconds at which
each message (in the order in which they were sent) was read, as 64-bit integers; 0 for one that never came.
"""

from __future__ import annotations

import array
import sys
import time
from pathlib import Path
from typing import Any

from redis import Redis


def main(port: int, count: int, times_file: Path, streams: list[str]) -> None:
    times = array.array("q", bytes(8 * count))
    positions = {name.encode(): number for number, name in enumerate(streams)}
    cursors: Any = dict.fromkeys(positions, "0")
    client: Any = Redis(port=port)
    seen, last = 0, time.monotonic()
    while seen < count and time.monotonic() - last < 30:
        for name, entries in client.xread(cursors, count=10_000, block=1000):
            now = time.monotonic_ns()
            for _, fields in entries:
                times[(int(fields[b"id"]) - 1) * len(streams) + positions[name]] = now
            cursors[name] = entries[-1][0]
            seen += len(entries)
            last = time.monotonic()
    times_file.write_bytes(times.tobytes())


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
