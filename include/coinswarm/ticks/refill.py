"""What a stream without numbers missed, asked for at once: its venue gives but the latest trades, seconds of them.

The trades between the last one before the gap and one that was heard after it are all of them. Where they do not span
it, the gap is left to the repair, which asks later and by time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container, Sequence
from typing import Protocol

from coinswarm.errors import CoinswarmError
from coinswarm.ticks.feeds import Feeds, TradeFeed
from coinswarm.ticks.gaps import Gap
from coinswarm.ticks.model import Trade
from coinswarm.ticks.writer import Writer

PAUSES = (0.1, 0.4, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""Seconds before each attempt. Where nothing was traded since, the latest trades go back far: there is time to wait."""
WRITTEN_SECONDS = 30.0
# By then Redis has what it acknowledged on disk.
KEPT_SECONDS = 2.5


class LatestTrades(Protocol):
    """A venue's REST interface."""

    async def latest_trades(self, symbol: str) -> list[Trade]:
        """The newest trades, oldest first."""
        ...


async def refill(rest: LatestTrades, feeds: Feeds, feed: TradeFeed, gap: Gap) -> None:
    """Write what was missed in a gap that has ended, and close it once Redis has kept that."""
    after = str(gap.detail.get("after", ""))
    for pause in PAUSES if after else ():
        await asyncio.sleep(pause)
        heard = feed.newest
        if heard is None or heard.id == after:
            continue
        try:
            trades = await rest.latest_trades(feed.symbol)
        except CoinswarmError:
            continue
        missed = missed_between(trades, after, heard.id, feed.recent)
        if missed is None:
            continue
        feeds.late(feed, missed, time.time_ns() // 1_000_000)
        if await _kept(feeds.writer):
            feeds.refilled(gap, len(missed))
        return


def missed_between(trades: Sequence[Trade], after: str, heard: str, known: Container[str]) -> list[Trade] | None:
    """Those between two trades, by their ids, that are not known; None if the two are not there, in this order.

    By time, both ends included: a venue may tell trades of one millisecond in any order.
    """
    times = {trade.id: trade.ts for trade in trades}
    if after not in times or heard not in times or times[heard] < times[after]:
        return None
    return [trade for trade in trades if times[after] <= trade.ts <= times[heard] and trade.id not in known]


async def _kept(writer: Writer) -> bool:
    """Whether Redis has written all until now, and has not been away since."""
    wanted, reconnects = writer.position, writer.counters.reconnects
    give_up = time.monotonic() + WRITTEN_SECONDS
    while writer.counters.entries < wanted:
        if time.monotonic() > give_up:
            return False
        await asyncio.sleep(0.1)
    await asyncio.sleep(KEPT_SECONDS)
    return writer.counters.reconnects == reconnects
