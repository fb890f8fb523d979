"""Our pump of Binance's perpetuals, trades and all its bookkeeping, in a process of its own.

    python -m benchmarks.ticks.pump_client FRAMES_URL REDIS_PORT COUNT

Prints the same JSON line as the rival's client. The ledger in PostgreSQL is off, as the rival has none; continuity, the
lease, fenced flushes, verdicts, `latest` hashes and trimming are on.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time

from redis import asyncio as redis

from coinswarm.connections import Connection
from coinswarm.ticks.pump import Pump, PumpState
from coinswarm.ticks.settings import TickSettings

KEYS = ("trades:BTC-USDT-PERP", "trades:ETH-USDT-PERP")


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def _written(client: redis.Redis) -> int:
    return sum([int(await client.xlen(key)) for key in KEYS])


async def _watch(pump: Pump, port: int, count: int) -> None:
    client = redis.Redis(port=port)
    while not await _written(client):  # noqa: ASYNC110 - what is waited for happens in another process
        await asyncio.sleep(0.002)
    began, used, last, still = time.perf_counter(), _cpu(), 0, 0
    while True:
        await asyncio.sleep(0.05)
        now = await _written(client)
        ended = time.perf_counter()
        still = still + 1 if now == last else 0
        last = now
        if now >= count or still > 100:
            break
    line = {"messages": now, "seconds": ended - began - 0.05 * still, "cpu": _cpu() - used, "dropped": count - now}
    print(json.dumps(line), flush=True)
    await pump.stop("measured")
    await client.aclose()


def local_pump(url: str, port: int) -> Pump:
    """A pump of the local venue at `url` and the local Redis at `port`."""
    found = {
        "redis_ticks": Connection("redis_ticks", host="127.0.0.1", port=port, schema="0"),
        "http_binance": Connection("http_binance", host=url),
    }
    # The venue here has nothing but trades: its other streams would be called frozen.
    settings = TickSettings(ledger_connection="", archive_group="", liveness=False)
    return Pump("binance_usdm", settings, found.__getitem__)


async def _run(url: str, port: int, count: int) -> None:
    pump = local_pump(url, port)
    watching = asyncio.create_task(_watch(pump, port, count))
    async for change in pump.run():
        if change.state not in (PumpState.STARTED, PumpState.LIVE, PumpState.ENDED):
            print(f"{change.state}: {change.reason}", file=sys.stderr)
    await watching


if __name__ == "__main__":
    asyncio.run(_run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
