"""The shard across venues reads books from Redis and writes what they say together."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest
from tests.integration.ticks.pumps import QUICK, client, resolver, until

from coinswarm.connections import Connection
from coinswarm.ticks.pump import Pump, PumpState

pytestmark = pytest.mark.integration


def test_cross_venue_compares_books_of_one_quote_only(empty_redis: Connection) -> None:
    settings = replace(QUICK, taker_fee_bps={"coinbase": 10.0, "kraken": 10.0, "binance": 10.0}, book_seconds=0.01)
    states: list[PumpState] = []

    def book(venue: str, bid: str, ask: str, lag: int) -> dict[str, str]:
        now = time.time_ns() // 1_000_000
        return {
            "venue": venue,
            "bids": f'[["{bid}","1"]]',
            "asks": f'[["{ask}","1"]]',
            "ts": str(now - lag),
            "recv": str(now),
        }

    async def scenario() -> None:
        pump = Pump("cross_venue", settings, resolver("", empty_redis))

        async def follow() -> None:
            async for change in pump.run():
                states.append(change.state)

        task = asyncio.create_task(follow())
        with client(empty_redis) as redis_client:
            for symbol in ("BTC-USD", "BTC-USDT"):
                redis_client.sadd("ticks:streams", f"orderbook:{symbol}:snapshot")
            await until(lambda: PumpState.LIVE in states)
            while not redis_client.exists("arbitrage:BTC-USD"):
                redis_client.xadd("orderbook:BTC-USD:snapshot", book("kraken", "60000.0", "60001.0", 20))
                redis_client.xadd("orderbook:BTC-USD:snapshot", book("coinbase", "60300.0", "60301.0", -5))
                redis_client.xadd("orderbook:BTC-USDT:snapshot", book("binance", "70000.0", "70001.0", 5))
                await asyncio.sleep(0.05)
        await pump.stop("the test is over")
        await task

    asyncio.run(scenario())
    with client(empty_redis) as redis_client:
        _, fields = redis_client.xrevrange("cross_venue:BTC-USD", count=1)[0]
        _, alert = redis_client.xrange("arbitrage:BTC-USD")[0]
        assert (fields["bid_venue"], fields["bid"], fields["ask_venue"], fields["ask"]) == (
            "coinbase", "60300", "kraken", "60001",
        )  # fmt: skip
        assert json.loads(fields["latency_ms"]) == {"coinbase": -12.5, "kraken": 12.5}
        assert json.loads(fields["skew_ms"]) == {"coinbase": -5, "kraken": 20}
        # 299 of 60001 are 49.8325 bps; fees are 10 of 60001 and 10 of 60300.
        assert (alert["buy"], alert["sell"], alert["gross_bps"], alert["net_bps"]) == (
            "kraken", "coinbase", "49.832503", "29.78267",
        )  # fmt: skip
        assert not redis_client.exists("cross_venue:BTC-USDT")
        assert redis_client.sismember("ticks:streams", "arbitrage:BTC-USD")
