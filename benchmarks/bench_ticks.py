"""Ticks into Redis Streams: messages per second and CPU per message, ours beside cryptofeed 3 and `redis-benchmark`.

The same frames from the same kind of local server into the same kind of Redis; lossless on both sides
(`overflow='block'` there). `COINSWARM_BENCH_TICKS` sets the messages of one of our runs (default 1,000,000; the rival
gets an eighth), `COINSWARM_BENCH_REPEATS` the runs of each side, which take turns; medians count. A figure is time
from the first entry in Redis to the last, and the client's own CPU time in between. On two cores, client and Redis
share them with the venue, `redis-benchmark` only with Redis: so the venue sends from memory, a hundred frames a call.

`redis-benchmark` adds the same entry, 16 and 128 commands at a time. It is no Python package: without it (Debian:
redis-tools) its rows say why they are missing; so do the rival's without a Python 3.13.
"""

from __future__ import annotations

import csv
import os
import shutil
import statistics
import subprocess
from typing import Any

from benchmarks._report import figure, missing, note
from benchmarks.ticks import processes
from benchmarks.ticks.rival_environment import interpreter

MESSAGES = int(os.environ.get("COINSWARM_BENCH_TICKS", "1000000"))
REPEATS = int(os.environ.get("COINSWARM_BENCH_REPEATS", "3"))
RIVAL = "cryptofeed 3 TradeStream, overflow=block"
ENTRY = (
    *("venue", "binance", "price", "61099.80", "size", "0.029", "side", "sell", "ts", "1780000000998", "id", "500000"),
    *("recv", "1780000001012"),
)


def main() -> None:
    python = interpreter()
    if python is None:
        missing("ticks_rate", RIVAL, "there is no Python 3.13 on this machine")
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    for number in range(REPEATS):
        with processes.bare_redis() as port, processes.frame_server(MESSAGES) as url:
            ours.append(_lossless(processes.ours(url, port, MESSAGES), MESSAGES))
        note(f"run {number + 1}, ours: {ours[-1]}")
        if python is None:
            continue
        with processes.bare_redis() as port, processes.frame_server(MESSAGES // 8) as url:
            theirs.append(_lossless(processes.rivals(python, url, port, MESSAGES // 8), MESSAGES // 8))
        note(f"run {number + 1}, {RIVAL}: {theirs[-1]}")
    rate, cost = _medians(ours)
    if theirs:
        their_rate, their_cost = _medians(theirs)
        figure("ticks_rate", rate, "messages/s", against=RIVAL, against_value=their_rate, bar=">= 8")
        figure("ticks_cpu", cost, "µs CPU per message", against=RIVAL, against_value=their_cost, bar="<= 0.1")
    for depth in (16, 128):
        _against_redis_benchmark(rate, depth)


def _lossless(line: dict[str, Any], count: int) -> dict[str, Any]:
    if line["messages"] != count:
        raise RuntimeError(f"{count} messages were sent, {line['messages']} are in Redis")
    return line


def _medians(runs: list[dict[str, Any]]) -> tuple[float, float]:
    rate = statistics.median(run["messages"] / run["seconds"] for run in runs)
    return rate, statistics.median(run["cpu"] / run["messages"] * 1e6 for run in runs)


def _against_redis_benchmark(rate: float, depth: int) -> None:
    name = f"redis-benchmark XADD, {depth} at a time"
    if shutil.which("redis-benchmark") is None:
        missing("ticks_rate", name, "redis-benchmark is not installed")
        return
    rates = [_redis_benchmark(depth) for _ in range(REPEATS)]
    note(f"{name}: {rates}")
    bar = ">= 0.35" if depth == 128 else ""
    figure("ticks_rate", rate, "messages/s", against=name, against_value=statistics.median(rates), bar=bar)


def _redis_benchmark(depth: int) -> float:
    with processes.bare_redis() as port:
        argv = ["redis-benchmark", "-p", str(port), "-n", "1000000", "-c", "4", "-P", str(depth), "--csv"]
        done = subprocess.run(
            [*argv, "XADD", "trades:BTC-USDT-PERP", "*", *ENTRY], capture_output=True, text=True, check=True
        )
    return float(list(csv.reader(done.stdout.splitlines()))[-1][1])


if __name__ == "__main__":
    main()
