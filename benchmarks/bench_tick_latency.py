"""From the venue's socket to a reader of the Redis Stream: p50 and p99 at 1,000, 5,000 and 20,000 messages a second.

The venue notes when it sends each frame, a reader with XREAD when each entry has reached it, by the machine's monotonic
clock. Both sides' clients are measured the same way, one after the other. `COINSWARM_BENCH_SECONDS` is the length of a
run (default 20). cryptofeed collects a batch for up to half a second by default: that is its choice between
latency and rate, and part of what is compared.
"""

from __future__ import annotations

import array
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks._report import figure, missing, note
from benchmarks.ticks import processes
from benchmarks.ticks.pump_client import KEYS
from benchmarks.ticks.rival_environment import interpreter
from coinswarm.local.programs import wait_until

RATES = (1_000, 5_000, 20_000)
SECONDS = int(os.environ.get("COINSWARM_BENCH_SECONDS", "20"))
RIVAL = "cryptofeed 3 TradeStream, overflow=block"
RIVAL_KEYS = ("trades-BINANCE-BTC-USDT", "trades-BINANCE-ETH-USDT")
BARS = {(5_000, 0.99): "<= 0.02"}


def main() -> None:
    python = interpreter()
    for rate in RATES:
        ours = _latencies(rate, KEYS, processes.ours)
        note(f"{rate}/s, ours: {len(ours)} messages, slowest {ours[-1]:.2f} ms")
        theirs: list[float] = []
        if python is not None:
            theirs = _latencies(rate, RIVAL_KEYS, lambda *a, python=python: processes.rivals(python, *a))
            note(f"{rate}/s, {RIVAL}: {len(theirs)} messages, slowest {theirs[-1]:.2f} ms")
        for share in (0.5, 0.99):
            name, value = f"tick_latency_p{share * 100:.0f}_at_{rate}", _quantile(ours, share)
            if not theirs:
                missing(name, RIVAL, "there is no Python 3.13 on this machine")
                continue
            bar = BARS.get((rate, share), "")
            figure(name, value, "ms", against=RIVAL, against_value=_quantile(theirs, share), bar=bar)


def _latencies(rate: int, keys: tuple[str, ...], client: Callable[[str, int, int], dict[str, Any]]) -> list[float]:
    """Milliseconds of every message, ascending."""
    count = rate * SECONDS
    with tempfile.TemporaryDirectory() as folder, processes.bare_redis() as port:
        sent, read = Path(folder) / "sent", Path(folder) / "read"
        reader = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ticks.latency_reader", str(port), str(count), str(read), *keys]
        )
        with processes.frame_server(count, rate=rate, sent=sent) as url:
            done = client(url, port, count)
            if reader.wait(timeout=60) or done["messages"] != count:
                raise RuntimeError(f"{count} messages were sent, {done['messages']} are in Redis")
            wait_until(lambda: sent.stat(), what="the venue's record", seconds=15)
        departures, arrivals = array.array("q", sent.read_bytes()), array.array("q", read.read_bytes())
    return sorted((there - here) / 1e6 for here, there in zip(departures, arrivals, strict=True))


def _quantile(ascending: list[float], share: float) -> float:
    return ascending[min(len(ascending) - 1, int(len(ascending) * share))]


if __name__ == "__main__":
    main()
