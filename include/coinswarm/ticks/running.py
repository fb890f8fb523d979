"""Pumps in a plain process: several shards in one loop, ended by a signal or by time."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Sequence

from coinswarm.connections import Resolver
from coinswarm.ticks.pump import Pump, PumpChange
from coinswarm.ticks.settings import TickSettings

Tell = Callable[[str, PumpChange], None]


async def run_shards(
    shards: Sequence[str], settings: TickSettings, resolve: Resolver, tell: Tell, seconds: float | None = None
) -> None:
    """Run the pumps until all have ended; SIGINT, SIGTERM, or the end of `seconds` stops them in an orderly way.

    Raises:
        CoinswarmError: a pump cannot work at all; the others are stopped.
    """
    pumps = [Pump(shard, settings, resolve) for shard in shards]
    loop = asyncio.get_running_loop()
    stopping: set[asyncio.Task[None]] = set()

    def stop(reason: str) -> None:
        for pump in pumps:
            task = loop.create_task(pump.stop(reason))
            stopping.add(task)
            task.add_done_callback(stopping.discard)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop, number.name)
    timer = loop.call_later(seconds, stop, "time is over") if seconds is not None else None

    async def follow(pump: Pump) -> None:
        try:
            async for change in pump.run():
                tell(pump.shard, change)
        except BaseException:
            stop(f"{pump.shard} failed")
            raise

    try:
        results = await asyncio.gather(*(follow(pump) for pump in pumps), return_exceptions=True)
    finally:
        if timer is not None:
            timer.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
    for result in results:
        if isinstance(result, BaseException):
            raise result
