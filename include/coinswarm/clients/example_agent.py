"""A committee agent to copy from: features of every ten seconds, and a decision, one JSON line each.

    python -m coinswarm.clients.example_agent BTC-USDT

A window is closed by the first message that Redis took after its end, or by the clock if none comes. What belongs to it
follows from the entries' ids, so that the same stream gives the same windows, live or read again later. A window in
which something was missed says `complete: false`, and decides nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import math
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

from coinswarm.clients.committee import CommitteeData
from coinswarm.clients.messages import AnyMessage, Interrupted, Missed, OrderBook, Resumed, Tick, Trade, Unreadable
from coinswarm.clients.subscription import Subscription
from coinswarm.connections import resolve
from coinswarm.errors import CoinswarmError
from coinswarm.timeframes import floor

LENGTH = timedelta(seconds=10)
# What Redis took just before the end of a window may reach us just after it.
GRACE = timedelta(seconds=1)
_ONE_SECOND = timedelta(seconds=1)
ZERO = Decimal(0)


class Window:
    """Trades and books of `[start, start + length)`, in the order of Redis."""

    def __init__(self, start: datetime, length: timedelta = LENGTH) -> None:
        self.start = start
        self.end = start + length
        self.complete = True
        self._trades: list[Trade] = []
        self._seen: set[tuple[str, str]] = set()
        self._spreads: dict[str, Decimal] = {}

    def add(self, message: AnyMessage) -> None:
        """Take a message of this window."""
        if isinstance(message, Trade):
            # Delivery is at least once; the trade's own id tells.
            if (message.venue, message.trade_id) not in self._seen:
                self._seen.add((message.venue, message.trade_id))
                self._trades.append(message)
        elif isinstance(message, OrderBook):
            if message.spread_bps is not None:
                self._spreads[message.venue] = message.spread_bps
        elif isinstance(message, Missed | Unreadable | Interrupted):
            self.complete = False

    def features(self) -> dict[str, Any]:
        """Sums are exact; `volatility_bps` is a double, as it takes logarithms. None where nothing was traded."""
        bought = sum((one.size for one in self._trades if one.side == "buy"), ZERO)
        volume = sum((one.size for one in self._trades), ZERO)
        notional = sum((one.price * one.size for one in self._trades), ZERO)
        return {
            "start": self.start.isoformat(),
            "complete": self.complete,
            "trades": len(self._trades),
            "volume": volume,
            "trade_imbalance": round((2 * bought - volume) / volume, 6) if volume else None,
            "vwap": round(notional / volume, 8) if volume else None,
            "volatility_bps": self._volatility(),
            "spread_bps": min(self._spreads.values(), default=None),
        }

    def _volatility(self) -> float | None:
        """Realised volatility: root of the sum of squared log returns from second to second, mean over the venues."""
        closes: dict[str, dict[int, Decimal]] = {}
        for trade in self._trades:
            # Prices of two venues differ; their difference is no return.
            second = (trade.taken_at - self.start) // _ONE_SECOND
            closes.setdefault(trade.venue, {})[second] = trade.price
        sums = []
        for prices in closes.values():
            path = [float(prices[second]) for second in sorted(prices)]
            returns = [math.log(after / before) for before, after in pairwise(path)]
            if returns:
                sums.append(math.sqrt(sum(one * one for one in returns)))
        return round(1e4 * sum(sums) / len(sums), 4) if sums else None


def decide(features: dict[str, Any]) -> str:
    """A rule to be replaced: follow takers who lean to one side in a tight market."""
    if not features["complete"] or features["trade_imbalance"] is None:
        return "wait"
    if features["spread_bps"] is not None and features["spread_bps"] > 5:
        return "wait"
    if abs(features["trade_imbalance"]) < Decimal("0.2"):
        return "hold"
    return "buy" if features["trade_imbalance"] > 0 else "sell"


class Windows:
    """Cuts a stream of messages into windows."""

    def __init__(self, length: timedelta = LENGTH) -> None:
        self._length = length
        self._open: Window | None = None
        self._gap = False

    def take(self, message: AnyMessage) -> Iterator[Window]:
        """Add a message; gives the windows that it closes."""
        if isinstance(message, Tick):
            yield from self.pass_time(message.taken_at)
        elif isinstance(message, Interrupted | Resumed | Missed | Unreadable):
            # It is not known how far back it reaches: the open window and the next one.
            self._gap = True
        if self._open is not None:
            self._open.add(message)

    def pass_time(self, now: datetime) -> Iterator[Window]:
        """Close what has ended by then, empty windows included."""
        if self._open is None:
            self._open = Window(floor(now, self._length), self._length)
            # It began before we listened.
            self._open.complete = False
        while now >= self._open.end:
            closed, self._open = self._open, Window(self._open.end, self._length)
            closed.complete = closed.complete and not self._gap
            if self._gap:
                self._open.complete = self._gap = False
            yield closed


async def windows(messages: Subscription, length: timedelta = LENGTH) -> AsyncIterator[Window]:
    """Windows as they end, also while no message comes."""
    cut = Windows(length)
    while True:
        try:
            async with asyncio.timeout(1):
                message = await anext(messages)
        except TimeoutError:
            closed = list(cut.pass_time(datetime.now(UTC) - GRACE))
        except StopAsyncIteration:
            return
        else:
            closed = list(cut.take(message))
            if isinstance(message, Missed | Interrupted | Resumed):
                print(message, file=sys.stderr, flush=True)
        for window in closed:
            yield window


async def run(symbol: str, length: timedelta, connection: str, start: str) -> None:
    """Print features and decisions until interrupted."""
    data = CommitteeData(resolve(connection))
    async with data, data.subscribe(f"{symbol}:trades", f"{symbol}:orderbook", start=start) as messages:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: asyncio.ensure_future(messages.aclose()))
        async for window in windows(messages, length):
            features = window.features()
            print(json.dumps({"symbol": symbol, **features, "decision": decide(features)}, default=str), flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m coinswarm.clients.example_agent", description="Example agent.")
    parser.add_argument("symbol", nargs="?", default="BTC-USDT", help="instrument, default BTC-USDT")
    parser.add_argument("--seconds", type=int, default=10, help="length of a window, default 10")
    parser.add_argument("--connection", default="redis_committee", help="default redis_committee")
    parser.add_argument("--start", default="now", help="`now`, `oldest`, or the id of an entry")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.symbol, timedelta(seconds=given.seconds), given.connection, given.start))


if __name__ == "__main__":
    try:
        main()
    except CoinswarmError as error:
        print(f"example_agent: {error}", file=sys.stderr)
        raise SystemExit(1) from None
