"""What the venues say together: best prices, differences, latencies, arbitrage. A shard that reads the others' books.

Books of one symbol are compared, and a symbol has one quote: USD is never mixed with USDT. Latencies are signed: a
venue's clock that runs ahead of ours makes them negative, and the smallest of the last minutes is kept as its skew.
"""

from __future__ import annotations

import asyncio
import json
import random
import statistics
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

import hiredis

from coinswarm.connections import Connection
from coinswarm.ticks.derived import plain, rounded, spread_bps
from coinswarm.ticks.feeds import STREAMS_KEY, Feeds
from coinswarm.ticks.redis_link import RedisFailure, RedisLink
from coinswarm.ticks.resp import command, wire
from coinswarm.ticks.session import SessionHost
from coinswarm.ticks.settings import TickSettings

_PREFIX, _SUFFIX = "orderbook:", ":snapshot"
_BPS = Decimal(10_000)
_LOOK_FOR_KEYS_SECONDS = 5.0
_BLOCK_MS = 250
_MOST_ENTRIES = 500
_SKEW_SECONDS = 300
_REPEAT_MS = 1000
_PERPETUAL = "-PERP"


@dataclass(frozen=True, slots=True)
class Top:
    """A venue's best prices: when by its clock, and when by ours."""

    venue: str
    bid: Decimal
    ask: Decimal
    ts: int
    recv: int

    @property
    def mid(self) -> Decimal:
        """The middle."""
        return (self.bid + self.ask) / 2

    @property
    def lag_ms(self) -> int:
        """How much later than its own time it reached us; negative if its clock is ahead."""
        return self.recv - self.ts


@dataclass(frozen=True, slots=True)
class Edge:
    """Buy at one venue, sell at another."""

    buy: Top
    sell: Top
    gross_bps: Decimal
    net_bps: Decimal


def best(tops: Sequence[Top]) -> tuple[Top, Top]:
    """The venues with the highest bid and the lowest ask."""
    return max(tops, key=lambda top: top.bid), min(tops, key=lambda top: top.ask)


def differences_bps(tops: Sequence[Top]) -> dict[str, Decimal]:
    """How far each venue's middle is from the median of all, in bps."""
    median = statistics.median(top.mid for top in tops)
    return {top.venue: rounded((top.mid - median) / median * _BPS) for top in tops}


def latencies_ms(tops: Sequence[Top]) -> dict[str, float]:
    """How much later than the median venue's each venue's book is, signed."""
    median = statistics.median(top.lag_ms for top in tops)
    return {top.venue: top.lag_ms - median for top in tops}


def edges(tops: Sequence[Top], fees_bps: Mapping[str, float], least_net_bps: float) -> list[Edge]:
    """Pairs that leave at least `least_net_bps` after both taker fees; a venue whose fee is not known has none."""
    found = []
    for buy in tops:
        for sell in tops:
            if buy is sell or buy.venue not in fees_bps or sell.venue not in fees_bps or sell.bid <= buy.ask:
                continue
            gross = (sell.bid - buy.ask) / buy.ask * _BPS
            # Each fee is a share of its own side's price; all is in bps of what is paid.
            net = gross - Decimal(str(fees_bps[buy.venue])) - Decimal(str(fees_bps[sell.venue])) * sell.bid / buy.ask
            if net >= Decimal(str(least_net_bps)):
                found.append(Edge(buy, sell, rounded(gross), rounded(net)))
    return found


class Skews:
    """Smallest lag of each venue in the last minutes: its clock's skew, and the shortest way."""

    def __init__(self) -> None:
        self._lags: dict[str, deque[tuple[int, int]]] = {}

    def see(self, top: Top) -> None:
        """Take note of a book's lag."""
        lags = self._lags.setdefault(top.venue, deque())
        while lags and lags[-1][1] >= top.lag_ms:
            lags.pop()
        lags.append((top.recv, top.lag_ms))
        while lags[0][0] < top.recv - _SKEW_SECONDS * 1000:
            lags.popleft()

    def of(self, venue: str) -> int:
        """The skew, 0 before anything was seen."""
        lags = self._lags.get(venue)
        return lags[0][1] if lags else 0


def read_top(fields: Mapping[str, str]) -> Top | None:
    """The best prices of a snapshot's entry; None if it has none."""
    try:
        bids, asks = json.loads(fields["bids"]), json.loads(fields["asks"])
        top = Top(fields["venue"], Decimal(bids[0][0]), Decimal(asks[0][0]), int(fields["ts"]), int(fields["recv"]))
    except (KeyError, IndexError, TypeError, ValueError, InvalidOperation):
        return None
    return top if top.bid > 0 and top.ask > 0 and top.ts > 0 else None


class CrossVenue:
    """Reads all books in Redis and writes `cross_venue:<symbol>` and `arbitrage:<symbol>`."""

    def __init__(self, connection: Connection, settings: TickSettings, feeds: Feeds, host: SessionHost) -> None:
        self._connection = connection
        self._settings = settings
        self._feeds = feeds
        self._host = host
        self._positions: dict[str, str] = {}
        self._tops: dict[str, dict[str, Top]] = {}
        self._skews = Skews()
        self._touched: set[str] = set()
        self._written_ms: dict[str, int] = {}
        self._alerted_ms: dict[tuple[str, str, str], int] = {}
        self._connected = False
        self._paused = False

    @property
    def warm(self) -> bool:
        """Whether it reads."""
        return self._connected

    def activate(self) -> None:
        """Nothing was held back: books are states."""

    def pause(self, paused: bool) -> None:
        """Go on reading, as that costs nothing worth sparing; what is the newest then is written afterwards."""
        self._paused = paused

    def tick(self, now_ms: int) -> None:
        """Nothing to look after."""

    def turn(self, now_ms: int) -> None:
        """Write what has changed."""
        if self._paused:
            return
        pause = self._settings.book_seconds * 1000
        for symbol in [one for one in self._touched if now_ms - self._written_ms.get(one, 0) >= pause]:
            self._touched.discard(symbol)
            self._written_ms[symbol] = now_ms
            self._compare(symbol, now_ms)

    async def run(self) -> None:
        """Read until cancelled."""
        failures = 0
        while True:
            link = RedisLink()
            try:
                await link.open(self._connection, "coinswarm-ticks-cross-venue", self._settings.connect_timeout_seconds)
                failures = 0
                await self._read(link)
            except RedisFailure as error:
                failures += 1
                self._connected = False
                self._host.session_changed("cross_venue", str(error))
                await asyncio.sleep(min(0.1 * 2 ** min(failures, 10), 5.0) * random.uniform(0.5, 1.0))
            finally:
                link.close()

    async def _read(self, link: RedisLink) -> None:
        looked = 0.0
        while True:
            if time.monotonic() - looked >= _LOOK_FOR_KEYS_SECONDS or not self._positions:
                looked = time.monotonic()
                await self._look_for_keys(link)
                self._connected = True
                self._host.session_changed("cross_venue", "")
            if not self._positions:
                await asyncio.sleep(_BLOCK_MS / 1000)
                continue
            keys = tuple(self._positions)
            (reply,) = await link.ask(
                wire([command("XREAD", "COUNT", _MOST_ENTRIES, "BLOCK", _BLOCK_MS, "STREAMS", *keys,
                              *(self._positions[key] for key in keys))]), 1
            )  # fmt: skip
            if isinstance(reply, hiredis.ReplyError):
                raise RedisFailure(str(reply))
            for key, entries in reply or ():
                self._take(key.decode(), entries)

    async def _look_for_keys(self, link: RedisLink) -> None:
        (reply,) = await link.ask(wire([command("SMEMBERS", STREAMS_KEY)]), 1)
        if isinstance(reply, hiredis.ReplyError):
            raise RedisFailure(str(reply))
        for name in reply:
            key = name.decode("utf-8", "replace")
            if key.startswith(_PREFIX) and key.endswith(_SUFFIX) and key not in self._positions:
                (newest,) = await link.ask(wire([command("XREVRANGE", key, "+", "-", "COUNT", 1)]), 1)
                self._positions[key] = newest[0][0].decode() if isinstance(newest, list) and newest else "0-0"

    def _take(self, key: str, entries: Sequence[Any]) -> None:
        symbol = key[len(_PREFIX) : -len(_SUFFIX)]
        for entry_id, values in entries:
            self._positions[key] = entry_id.decode()
            texts = [value.decode("utf-8", "replace") for value in values]
            top = read_top(dict(zip(texts[::2], texts[1::2], strict=True)))
            if top is not None:
                self._tops.setdefault(symbol, {})[top.venue] = top
                self._skews.see(top)
                self._touched.add(symbol)

    def _compare(self, symbol: str, now_ms: int) -> None:
        oldest = now_ms - int(self._settings.stale_seconds * 1000)
        tops = [top for _, top in sorted(self._tops[symbol].items()) if top.recv >= oldest]
        if len(tops) < 2:
            return
        high, low = best(tops)
        fields = {
            "bid_venue": high.venue,
            "bid": plain(high.bid),
            "ask_venue": low.venue,
            "ask": plain(low.ask),
            "spread_bps": plain(spread_bps(high.bid, low.ask)),
            "difference_bps": _json({venue: plain(bps) for venue, bps in differences_bps(tops).items()}),
            "latency_ms": _json(latencies_ms(tops)),
            "skew_ms": _json({top.venue: self._skews.of(top.venue) for top in tops}),
            "ts": str(max(top.ts for top in tops)),
            "recv": str(now_ms),
        }
        self._feeds.write_other(f"cross_venue:{symbol}", fields, f"latest:cross_venue:all:{symbol}")
        settings = self._settings
        fees = settings.perpetual_taker_fee_bps if symbol.endswith(_PERPETUAL) else settings.taker_fee_bps
        for edge in edges(tops, fees, settings.arbitrage_edge_bps):
            self._alert(symbol, edge, now_ms)

    def _alert(self, symbol: str, edge: Edge, now_ms: int) -> None:
        pair = (symbol, edge.buy.venue, edge.sell.venue)
        if now_ms - self._alerted_ms.get(pair, 0) < _REPEAT_MS:
            return
        self._alerted_ms[pair] = now_ms
        fields = {
            "buy": edge.buy.venue,
            "sell": edge.sell.venue,
            "buy_price": plain(edge.buy.ask),
            "sell_price": plain(edge.sell.bid),
            "gross_bps": plain(edge.gross_bps),
            "net_bps": plain(edge.net_bps),
            "ts": str(max(edge.buy.ts, edge.sell.ts)),
            "recv": str(now_ms),
        }
        self._feeds.write_other(f"arbitrage:{symbol}", fields, f"latest:arbitrage:all:{symbol}")


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, separators=(",", ":"))
