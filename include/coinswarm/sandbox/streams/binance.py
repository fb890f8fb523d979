"""Binance: spot, USD-M on its two paths, and COIN-M. What no path serves is acknowledged and never comes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec.json import encode

from coinswarm.sandbox.market.books import Book, Levels
from coinswarm.sandbox.market.model import Listing
from coinswarm.sandbox.market.numbers import padded, split
from coinswarm.sandbox.market.trades import Aggregate, Tape, Trade
from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams.session import AggregateFeed, BookFeed, Feed, Message, PeriodicFeed, Session, TradeFeed

_PUBLIC = ("depth", "bookTicker", "trade")
_MARKET = ("aggTrade", "markPrice", "forceOrder")
_PATH = re.compile(r"(?P<part>/public|/market)?/(?P<form>ws|stream)(?:/(?P<names>.+))?")
_MOST_STREAMS = 1024
_PING_MS = {"spot": 20_000, "usdm": 180_000, "coinm": 180_000}
_FORCED_MS = 1_000

Render = Callable[[dict[str, Any]], bytes]


class Binance(Session):
    """One connection of a market."""

    pong_seconds = 60.0

    def __init__(self, world: World, call: Call, market: str, kinds: Sequence[str], names: Sequence[str]) -> None:
        """`kinds` are the streams that this path serves, `names` those that the path itself asks for."""
        super().__init__(world, call)
        self._market = market
        self._kinds = kinds
        self._names = list(names)
        self._combined = "/stream" in call.path
        self._micro = market == "spot" and call.query.get("timeUnit", "").upper() == "MICROSECOND"
        self._subscribed: dict[str, None] = {}
        self._pinged = 0

    def opened(self, now: int) -> Iterable[Message]:
        """Streams of the path."""
        self._pinged = now
        for name in self._names:
            yield from self._subscribe(name, now)

    def due(self, now: int) -> Iterator[Message]:
        """Streams, and a ping now and then."""
        yield from super().due(now)
        if not 0 <= now - self._pinged < _PING_MS[self._market]:
            self._pinged = now
            yield Message(str(now).encode(), ping=True)

    def request(self, request: dict[str, Any], now: int) -> Iterable[Message]:
        """SUBSCRIBE, UNSUBSCRIBE and their like."""
        method, names, number = request.get("method"), request.get("params"), request.get("id")
        if method == "LIST_SUBSCRIPTIONS":
            yield _answer(list(self._subscribed), number)
            return
        if method == "SET_PROPERTY":
            if isinstance(names, list) and len(names) == 2 and names[0] == "combined":
                self._combined = names[1] is True
            yield _answer(None, number)
            return
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            yield self._refusal(f"Invalid request: unknown variant `{str(method)[:40]}`", number)
            return
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            yield self._refusal("Invalid request: request ID must be an unsigned integer", number)
            return
        if method == "UNSUBSCRIBE":
            for name in names:
                self._subscribed.pop(name, None)
                self.feeds.pop(name, None)
            yield _answer(None, number)
            return
        if len(self._subscribed) + len(names) > _MOST_STREAMS:
            yield self._refusal("Invalid request: too many streams", number)
            return
        yield _answer(None, number)
        for name in names:
            yield from self._subscribe(name, now)

    def unreadable(self, text: bytes) -> Iterable[Message]:
        """No JSON."""
        yield self._refusal("Invalid JSON: expected value at line 1 column 1", None)

    def _refusal(self, text: str, number: Any) -> Message:
        error = {"code": 2, "msg": text}
        return Message(encode({**error, "id": number} if self._market == "spot" else {"error": error, "id": number}))

    def _subscribe(self, name: str, now: int) -> Iterator[Message]:
        if name in self._subscribed:
            return
        self._subscribed[name] = None
        if name.startswith("!forceOrder"):
            feeds = [
                (f"{name} {listing.symbol}", self._forced(listing, self._wrapped(name)))
                for listing in self.world.market.listings("binance")
                if listing.market == self._market and "forceOrder" in self._kinds
            ]
        else:
            feed = self._feed(name)
            feeds = [(name, feed)] if feed is not None else []
        for key, feed in feeds:
            yield from self.add(key, feed, now)

    def _feed(self, name: str) -> Feed | None:
        symbol, _, topic = name.partition("@")
        kind, _, speed = topic.partition("@")
        listing = self.world.market.find("binance", self._market, symbol.upper())
        if listing is None or kind not in self._kinds or symbol != symbol.lower():
            return None
        render = self._wrapped(name)
        tape, book = self.world.market.tape(listing), self.world.market.book(listing)
        if kind == "trade" and not speed:
            return TradeFeed(tape, lambda trades: [render(self._trade(tape, trade)) for trade in trades])
        if kind == "aggTrade" and not speed:
            return AggregateFeed(tape, lambda orders: [render(self._aggregate(tape, order)) for order in orders])
        if kind == "depth" and speed in ("", "100ms", "250ms", "500ms", "1000ms"):
            return BookFeed(book, lambda before, slot, changes: [render(self._depth(book, before, slot, changes))])
        if kind == "bookTicker" and not speed:
            return BookFeed(book, lambda before, slot, _: self._top(book, before, slot, render), channel="top")
        if kind == "markPrice" and speed in ("", "1s"):
            step = 1_000 if speed else 3_000
            return PeriodicFeed("funding", listing.symbol, step, lambda at: [render(self._mark(listing, at))])
        if kind == "forceOrder" and not speed:
            return self._forced(listing, render)
        return None

    def _wrapped(self, name: str) -> Render:
        return lambda data: encode({"stream": name, "data": data} if self._combined else data)

    # ---- data

    def _at(self, at_us: int) -> int:
        return at_us if self._micro else at_us // 1000

    def _price(self, listing: Listing, text: str) -> str:
        return padded(text, 8 if self._market == "spot" else split(listing.tick)[1])

    def _size(self, listing: Listing, text: str) -> str:
        return padded(text, 8 if self._market == "spot" else split(listing.lot)[1])

    def _trade(self, tape: Tape, trade: Trade) -> dict[str, Any]:
        listing, at = tape.listing, self._at(trade.at_us)
        row: dict[str, Any] = {"e": "trade", "E": at}
        if self._market != "spot":
            row["T"] = at
        row |= {
            "s": listing.symbol,
            "t": trade.id,
            "p": self._price(listing, tape.price(trade.price)),
            "q": self._size(listing, tape.size(trade.lots)),
        }
        if self._market != "spot":
            return row | {"X": "MARKET", "m": not trade.buy}
        return row | {"T": at, "m": not trade.buy, "M": True}

    def _aggregate(self, tape: Tape, order: Aggregate) -> dict[str, Any]:
        listing, at = tape.listing, self._at(order.at_us)
        size = self._size(listing, tape.size(order.lots))
        row = {
            "e": "aggTrade",
            "E": at,
            "a": order.id,
            "s": listing.symbol,
            "p": self._price(listing, tape.price(order.price)),
            "q": size,
            "f": order.first,
            "l": order.last,
            "T": at,
            "m": not order.buy,
        }
        if self._market == "spot":
            return row | {"M": True}
        return row | {"nq": size, "st": 1 if self._market == "usdm" else 2}

    def _depth(self, book: Book, before: int, slot: int, changes: Levels) -> dict[str, Any]:
        at = self._at(book.moment(slot) * 1000)
        last, previous = book.number(slot), book.number(before)
        row: dict[str, Any] = {"e": "depthUpdate", "E": at}
        if self._market != "spot":
            row["T"] = at
        row |= {"s": book.listing.symbol, "U": previous + 1, "u": last}
        if self._market != "spot":
            row["pu"] = previous
        return row | {"b": self._levels(book, changes.bids), "a": self._levels(book, changes.asks)}

    def _levels(self, book: Book, side: Sequence[tuple[int, int]]) -> list[tuple[str, str]]:
        listing, tape = book.listing, book.tape
        return [(self._price(listing, tape.price(price)), self._size(listing, tape.size(lots))) for price, lots in side]

    def _top(self, book: Book, before: int, slot: int, render: Render) -> Iterable[bytes]:
        old, new = book.levels(before), book.levels(slot)
        if not new.bids or (old.bids[:1], old.asks[:1]) == (new.bids[:1], new.asks[:1]):
            return
        (bid,), (ask,) = self._levels(book, new.bids[:1]), self._levels(book, new.asks[:1])
        row: dict[str, Any] = {
            "u": book.number(slot),
            "s": book.listing.symbol,
            "b": bid[0],
            "B": bid[1],
            "a": ask[0],
            "A": ask[1],
        }
        if self._market != "spot":
            at = book.moment(slot)
            row = {"e": "bookTicker", **row, "T": at, "E": at}
        yield render(row)

    def _mark(self, listing: Listing, at: int) -> dict[str, Any]:
        quote = self.world.market.quote(listing, at)
        index = padded(quote.index_price, 8)
        return {
            "e": "markPriceUpdate",
            "E": at,
            "s": listing.symbol,
            "p": padded(quote.mark, 8),
            "ap": padded(quote.mark, 8),
            "P": index,
            "i": index,
            "r": quote.funding,
            "T": quote.next_funding_ms,
            "st": 1 if self._market == "usdm" else 2,
        }

    def _forced(self, listing: Listing, render: Render) -> Feed:
        tape = self.world.market.tape(listing)

        def latest(trades: Sequence[Trade]) -> Iterable[bytes]:
            # Of each second, the last one only.
            by_second = {trade.at_us // (_FORCED_MS * 1000): trade for trade in trades}
            return [render(self._order(tape, trade)) for trade in by_second.values()]

        return TradeFeed(tape, latest, every_ms=_FORCED_MS, where=tape.forced, channel="liquidations")

    def _order(self, tape: Tape, trade: Trade) -> dict[str, Any]:
        listing = tape.listing
        price, size = self._price(listing, tape.price(trade.price)), self._size(listing, tape.size(trade.lots))
        return {
            "e": "forceOrder",
            "E": trade.at_ms,
            "o": {
                "s": listing.symbol,
                "S": "BUY" if trade.buy else "SELL",
                "o": "LIMIT",
                "f": "IOC",
                "q": size,
                "p": price,
                "ap": price,
                "X": "FILLED",
                "l": size,
                "z": size,
                "T": trade.at_ms,
                "st": 1 if self._market == "usdm" else 2,
            },
        }


def _answer(result: object, number: Any) -> Message:
    return Message(encode({"result": result, "id": number}))


def _names(call: Call, form: str, names: str | None) -> list[str]:
    if form == "stream":
        return [name for name in call.query.get("streams", "").split("/") if name]
    return [name for name in (names or "").split("/") if name]


def spot(world: World, call: Call) -> Session | None:
    """`/ws` and `/stream` of spot."""
    found = _PATH.fullmatch(call.path)
    if found is None or found["part"]:
        return None
    kinds = ("trade", "aggTrade", "depth", "bookTicker")
    return Binance(world, call, "spot", kinds, _names(call, found["form"], found["names"]))


def usdm(world: World, call: Call) -> Session | None:
    """`/public` and `/market`; the old paths without either have nothing any more."""
    found = _PATH.fullmatch(call.path)
    if found is None:
        return None
    kinds = {"/public": _PUBLIC, "/market": _MARKET}.get(found["part"] or "", ())
    return Binance(world, call, "usdm", kinds, _names(call, found["form"], found["names"]))


def coinm(world: World, call: Call) -> Session | None:
    """`/ws` and `/stream` of COIN-M."""
    found = _PATH.fullmatch(call.path)
    if found is None or found["part"]:
        return None
    return Binance(world, call, "coinm", (*_PUBLIC, *_MARKET), _names(call, found["form"], found["names"]))


HOSTS = {
    "stream.binance.com": spot,
    "data-stream.binance.vision": spot,
    "fstream.binance.com": usdm,
    "dstream.binance.com": coinm,
}
