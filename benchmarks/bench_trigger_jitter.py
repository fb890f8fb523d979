"""What a neighbour in the same event loop feels of the pump: how late a timer of 50 ms fires, p99.

Triggers of one triggerer share its loop. A loop with the timer alone, and one with the timer and a pump at
`COINSWARM_BENCH_RATE` (default 5,000) messages a second, each for `COINSWARM_BENCH_SECONDS` (default 20).
"""

from __future__ import annotations

import asyncio
import os
import time

from benchmarks._report import figure, note
from benchmarks.ticks import processes
from benchmarks.ticks.pump_client import local_pump

RATE = int(os.environ.get("COINSWARM_BENCH_RATE", "5000"))
SECONDS = int(os.environ.get("COINSWARM_BENCH_SECONDS", "20"))
PERIOD = 0.05


async def _lateness(seconds: float) -> list[float]:
    """Milliseconds by which each firing was late, ascending."""
    late = []
    end = time.monotonic() + seconds
    while (due := time.monotonic() + PERIOD) < end:
        await asyncio.sleep(PERIOD)
        late.append((time.monotonic() - due) * 1000)
    return sorted(late)


async def _beside_a_pump(url: str, port: int) -> list[float]:
    pump = local_pump(url, port)

    async def run() -> None:
        async for change in pump.run():
            note(f"{change.state} {change.reason}")

    pumping = asyncio.create_task(run())
    await asyncio.sleep(3)  # connecting is not what is measured
    late = await _lateness(SECONDS)
    await pump.stop("measured")
    await pumping
    return late


def main() -> None:
    alone = asyncio.run(_lateness(SECONDS))
    with processes.bare_redis() as port, processes.frame_server(RATE * (SECONDS + 10), rate=RATE) as url:
        beside = asyncio.run(_beside_a_pump(url, port))
    for share in (0.5, 0.99):
        figure(
            f"neighbour_timer_late_p{share * 100:.0f}_at_{RATE}",
            beside[int(len(beside) * share)],
            "ms",
            against="the same timer alone in the loop",
            against_value=alone[int(len(alone) * share)],
            bar="",
        )


if __name__ == "__main__":
    main()
