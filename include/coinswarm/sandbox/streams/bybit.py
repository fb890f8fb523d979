"""Bybit v5: spot, linear and inverse. Contracts' tickers say what changed only; `u` counts a book's messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec.json import encode

from coinswarm.sandbox.exchanges._parameters import uuid_of
from coinswarm.sandbox.exchanges.bybit import ticker_row
from coinswarm.sandbox.exchanges.bybit_trades import sequence, trade_id
from coinswarm.sandbox.market.books import Book, Levels, Side
from coinswarm.sandbox.market.model import Listing
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams.session import BookFeed, Feed, Message, PeriodicFeed, Session, TradeFeed

_MARKETS = {f"/v5/public/{market}": market for market in ("spot", "linear", "inverse")}
_DEPTHS = ("1", "50", "200", "1000")
_MOST_ARGUMENTS = 10
_MOST_TRADES = 1024
_TICKER_MS, _FORCED_MS = 1_000, 500
# What REST says and the stream does not.
_REST_ONLY = (
    *("basis", "basisRate", "deliveryFeeRate", "deliveryTime", "predictedDeliveryPrice", "preOpenPrice", "preQty"),
    "curPreListingPhase",
)


class Bybit(Session):
    """One connection of a market."""

    def __init__(self, world: World, call: Call, market: str) -> None:
        """Nothing subscribed."""
        super().__init__(world, call)
        self._market = market
        self._name = uuid_of("bybit", "connection", market, world.now())

    def request(self, request: dict[str, Any], now: int) -> Iterator[Message]:
        """Subscribe, unsubscribe and ping."""
        op, topics, number = request.get("op"), request.get("args"), str(request.get("req_id", ""))[:60]
        if op == "ping":
            yield self._answer("ping", True, "pong", number)
            return
        if op not in ("subscribe", "unsubscribe") or not isinstance(topics, list):
            yield self._answer(str(op)[:40], False, f"error:invalid op {str(op)[:40]}", number)
            return
        if self._market == "spot" and len(topics) > _MOST_ARGUMENTS:
            yield self._answer(op, False, f"args size >{_MOST_ARGUMENTS}", number)
            return
        feeds = {topic: self._feed(topic) if isinstance(topic, str) else None for topic in map(_text, topics)}
        wrong = [topic for topic, feed in feeds.items() if feed is None]
        if wrong:
            yield self._answer(op, False, f"error:handler not found,topic:{wrong[0][:60]}", number)
            return
        yield self._answer(op, True, op if self._market == "spot" else "", number)
        for topic, feed in feeds.items():
            if op == "unsubscribe":
                self.feeds.pop(topic, None)
            elif feed is not None and topic not in self.feeds:
                yield from self.add(topic, feed, now)

    def unreadable(self, text: bytes) -> Iterable[Message]:
        """No JSON."""
        yield self._answer("", False, "error:request json invalid", "")

    def _answer(self, op: str, success: bool, text: str, number: str) -> Message:
        answer = {"success": success, "ret_msg": text, "conn_id": self._name, "req_id": number, "op": op}
        return Message(encode(answer))

    def _feed(self, topic: str) -> Feed | None:
        kind, _, rest = topic.partition(".")
        depth, _, name = rest.rpartition(".")
        listing = self.world.market.find("bybit", self._market, name)
        if listing is None or (kind != "orderbook" and depth):
            return None
        tape = self.world.market.tape(listing)
        if kind == "publicTrade":
            return TradeFeed(tape, lambda trades: self._trades(topic, tape, trades))
        if kind == "orderbook" and depth in _DEPTHS:
            return self._book(topic, self.world.market.book(listing), int(depth))
        if kind == "tickers":
            return _Ticker(self, topic, listing).feed()
        if kind == "allLiquidation" and listing.perpetual:
            return TradeFeed(
                tape,
                lambda trades: [self._forced(topic, tape, trades)],
                every_ms=_FORCED_MS,
                where=tape.forced,
                channel="liquidations",
            )
        return None

    def _trades(self, topic: str, tape: Tape, trades: Sequence[Trade]) -> Iterable[bytes]:
        for start in range(0, len(trades), _MOST_TRADES):
            rows = []
            for trade in trades[start : start + _MOST_TRADES]:
                row: dict[str, Any] = {
                    "T": trade.at_ms,
                    "s": tape.listing.symbol,
                    "S": "Buy" if trade.buy else "Sell",
                    "v": tape.size(trade.lots),
                    "p": tape.price(trade.price),
                    "L": "PlusTick" if trade.buy else "MinusTick",
                    "i": trade_id(tape, trade),
                    "BT": False,
                    "RPI": False,
                    "seq": sequence(tape, trade),
                }
                if self._market == "spot":
                    del row["L"]
                rows.append(row)
            yield self.framed(topic, "snapshot", rows)

    def _book(self, topic: str, book: Book, depth: int) -> Feed:
        def frame(kind: str, slot: int, levels: Levels) -> bytes:
            data = {
                "s": book.listing.symbol,
                "b": _levels(book, levels.bids),
                "a": _levels(book, levels.asks),
                "u": slot,
                "seq": book.number(slot),
            }
            return self.framed(topic, kind, data, book.moment(slot))

        def best(slot: int) -> Iterable[bytes]:
            levels = book.levels(slot)
            return [frame("snapshot", slot, Levels(levels.bids[:1], levels.asks[:1]))]

        if depth == 1:
            return BookFeed(book, lambda before, slot, _: best(slot), lambda slot, _: best(slot))
        return BookFeed(
            book,
            lambda before, slot, changed: [frame("delta", slot, changed)],
            lambda slot, whole: [frame("snapshot", slot, whole)],
        )

    def _forced(self, topic: str, tape: Tape, trades: Sequence[Trade]) -> bytes:
        # The side is that of the position: a long one is closed by a sale.
        rows = [
            {
                "T": trade.at_ms,
                "s": tape.listing.symbol,
                "S": "Sell" if trade.buy else "Buy",
                "v": tape.size(trade.lots),
                "p": tape.price(trade.price),
            }
            for trade in trades
        ]
        return self.framed(topic, "snapshot", rows)

    def framed(self, topic: str, kind: str, data: Any, matched: int | None = None) -> bytes:
        """A frame in the order of fields of the market."""
        now = self.world.now()
        if self._market == "spot":
            frame: dict[str, Any] = {"topic": topic, "ts": now, "type": kind, "data": data}
        else:
            frame = {"topic": topic, "type": kind, "ts": now, "data": data}
        return encode(frame if matched is None else frame | {"cts": matched})


class _Ticker:
    """State of one symbol: all of it first, then what changed."""

    def __init__(self, session: Bybit, topic: str, listing: Listing) -> None:
        self._session = session
        self._topic = topic
        self._listing = listing
        self._known: dict[str, str] = {}

    def feed(self) -> Feed:
        return PeriodicFeed("ticker", self._listing.symbol, _TICKER_MS, self._render, first=self._first)

    def _row(self) -> dict[str, str]:
        row = ticker_row(self._listing, self._session.world)
        return {name: value for name, value in row.items() if name not in _REST_ONLY}

    def _first(self, at: int) -> Iterable[bytes]:
        self._known = self._row()
        return [self._framed("snapshot", self._known)]

    def _render(self, at: int) -> Iterable[bytes]:
        row = self._row()
        changed = {name: value for name, value in row.items() if self._known.get(name) != value}
        self._known = row
        if not self._listing.perpetual:
            return [self._framed("snapshot", row)]
        return [self._framed("delta", {"symbol": row["symbol"], **changed})] if changed else []

    def _framed(self, kind: str, data: dict[str, str]) -> bytes:
        return self._session.framed(self._topic, kind, data)


def _levels(book: Book, side: Side) -> list[list[str]]:
    return [[book.tape.price(price), book.tape.size(lots)] for price, lots in side]


def _text(topic: object) -> str:
    return topic if isinstance(topic, str) else repr(topic)[:60]


def _open(world: World, call: Call) -> Session | None:
    market = _MARKETS.get(call.path)
    return None if market is None else Bybit(world, call, market)


HOSTS: dict[str, Callable[[World, Call], Session | None]] = {"stream.bybit.com": _open}
