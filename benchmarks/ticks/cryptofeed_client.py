"""The rival, run by its own Python 3.13: cryptofeed's Binance trades into its `TradeStream`, lossless.

    <python 3.13> cryptofeed_client.py FRAMES_URL REDIS_PORT COUNT

cryptofeed refuses addresses without TLS: that check, and nothing else, is lifted here, so that both clients read the
same plain local socket. Prints one JSON line: messages in Redis, seconds from the first entry to the last, CPU seconds
of this process from the first entry on, drops by its own count.
"""

import asyncio
import json
import logging
import resource
import sys
import time

from cryptofeed import FeedHandler
from cryptofeed import connection as cryptofeed_connection
from cryptofeed.backends.redis import TradeStream
from cryptofeed.defines import TRADES
from cryptofeed.exchanges import Binance
from cryptofeed.symbols import Symbols
from redis import asyncio as redis

logging.basicConfig(level=logging.WARNING)


class Address(str):
    """A ws:// address that says yes to the question whether it is one of wss://."""

    __slots__ = ()

    def startswith(self, prefix, *rest):
        return True if prefix == "wss://" else super().startswith(prefix, *rest)


def lift_tls_check():
    opened = cryptofeed_connection.WSAsyncConn.__init__

    def init(self, address, *args, **kwargs):
        opened(self, Address(address), *args, **kwargs)

    cryptofeed_connection.WSAsyncConn.__init__ = init


def cpu():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def written(client):
    return sum([await client.xlen(key) for key in ("trades-BINANCE-BTC-USDT", "trades-BINANCE-ETH-USDT")])


async def watch(handler, port, count):
    client = redis.Redis(port=port)
    while not await written(client):  # noqa: ASYNC110 - what is waited for happens in another process
        await asyncio.sleep(0.002)
    began, used, last, still = time.perf_counter(), cpu(), 0, 0
    while True:
        await asyncio.sleep(0.05)
        now = await written(client)
        ended = time.perf_counter()
        still = still + 1 if now == last else 0
        last = now
        if now >= count or still > 100:
            break
    line = {"messages": now, "seconds": ended - began - (0.05 * still if still else 0), "cpu": cpu() - used}
    line["dropped"] = sum(
        s.dropped_overflow + s.dropped_failed for f in handler.backend_stats().values() for s in f.values()
    )
    print(json.dumps(line), flush=True)
    handler.request_stop()
    await client.aclose()


async def main(url, port, count):
    lift_tls_check()
    info = {"instrument_type": {"BTC-USDT": "spot", "ETH-USDT": "spot"}, "tick_size": {}}
    Symbols.set("BINANCE", {"BTC-USDT": "BTCUSDT", "ETH-USDT": "ETHUSDT"}, info)
    Binance.websocket_endpoints[0].address = url
    handler = FeedHandler()
    sink = TradeStream(port=port, overflow="block")
    handler.add_feed(Binance(symbols=["BTC-USDT", "ETH-USDT"], channels=[TRADES], callbacks={TRADES: sink}))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(handler, port, count))
        await handler.run_async()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
