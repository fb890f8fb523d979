"""Kraken spot, WebSocket v2: JSON numbers at the pair's precision, and a checksum of the best ten levels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from zlib import crc32

from msgspec import Raw
from msgspec.json import encode

from coinswarm.sandbox.exchanges._parameters import iso_micro
from coinswarm.sandbox.exchanges.kraken import new_name
from coinswarm.sandbox.market.books import LEVELS, Book, Levels, Side
from coinswarm.sandbox.market.model import Listing
from coinswarm.sandbox.market.numbers import padded, split
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams.session import BookFeed, Feed, Message, Session, TradeFeed

_PAST_TRADES = 50
_DEPTHS = (10, 25, 100, 500, 1000)
_CHECKED = 10
_QUIET_MS = 1_000
_QTY_DIGITS = 8


class Kraken(Session):
    """One connection."""

    def __init__(self, world: World, call: Call) -> None:
        """Nothing subscribed."""
        super().__init__(world, call)
        self._spoke = world.now()
        self._names = {new_name(x): x for x in world.market.listings("kraken") if x.market == "spot"}

    def opened(self, now: int) -> Iterable[Message]:
        """The system's state."""
        data = {"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": now * 1009 % (1 << 53)}
        yield Message(encode({"channel": "status", "type": "update", "data": [data]}))

    def due(self, now: int) -> Iterator[Message]:
        """Feeds, and a heartbeat if they have been quiet for a second."""
        for message in super().due(now):
            self._spoke = now
            yield message
        if self.feeds and not 0 <= now - self._spoke < _QUIET_MS:
            self._spoke = now
            yield Message(b'{"channel":"heartbeat"}', "heartbeat")

    def request(self, request: dict[str, Any], now: int) -> Iterator[Message]:
        """Subscribe, unsubscribe and ping."""
        method, params = request.get("method"), request.get("params")
        number = {"req_id": request["req_id"]} if isinstance(request.get("req_id"), int) else {}
        times = {"time_in": iso_micro(now * 1000), "time_out": iso_micro(now * 1000)}
        if method == "ping":
            yield Message(encode({"method": "pong", **number, **times}))
            return
        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            yield Message(encode({"error": "Unsupported method", "success": False, **number, **times}))
            return
        channel, symbols, depth = str(params.get("channel")), params.get("symbol"), params.get("depth", 10)
        symbols = symbols if isinstance(symbols, list) else []
        refused = ""
        if channel not in ("trade", "book"):
            refused = f"Unsupported channel {channel[:40]}"
        elif channel == "book" and depth not in _DEPTHS:
            refused = "Subscription depth not supported"
        elif not symbols:
            refused = "Missing required field: symbol"
        if refused:
            answer = {"error": refused, "method": method, "success": False}
            yield Message(encode({**answer, **number, **times}))
            return
        for symbol in symbols:
            listing = self._names.get(symbol) if isinstance(symbol, str) else None
            if listing is None:
                error = f"Currency pair not supported {str(symbol)[:40]}"
                answer = {"error": error, "method": method, "success": False, "symbol": str(symbol)[:40]}
                yield Message(encode({**answer, **number, **times}))
                continue
            result = {"channel": channel, "symbol": symbol}
            if channel == "book":
                result["depth"] = depth
            snapshot = params.get("snapshot", True) is not False
            yield Message(
                encode(
                    {
                        "method": method,
                        "result": result | ({"snapshot": snapshot} if method == "subscribe" else {}),
                        "success": True,
                        **number,
                        **times,
                    }
                )
            )
            name = f"{channel} {symbol}"
            if method == "unsubscribe":
                self.feeds.pop(name, None)
            elif name not in self.feeds:
                yield from self.add(name, self._feed(channel, listing, depth, snapshot), now)

    def unreadable(self, text: bytes) -> Iterable[Message]:
        """No JSON."""
        yield Message(encode({"error": "Malformed request", "success": False}))

    def _feed(self, channel: str, listing: Listing, depth: int, snapshot: bool) -> Feed:
        if channel == "trade":
            tape = self.world.market.tape(listing)
            return TradeFeed(
                tape,
                lambda trades: [_trades(tape, trades, "update")],
                past=_PAST_TRADES if snapshot else 0,
                render_past=lambda trades: [_trades(tape, trades, "snapshot")],
            )
        book = self.world.market.book(listing)
        return BookFeed(
            book,
            lambda before, slot, changed: _book(book, slot, changed, "update"),
            lambda slot, whole: _book(book, slot, whole, "snapshot"),
            depth=min(depth, LEVELS),
        )


def _number(text: str) -> Raw:
    return Raw(text.encode())


def _trades(tape: Tape, trades: Sequence[Trade], kind: str) -> bytes:
    listing = tape.listing
    digits = split(listing.tick)[1]
    rows = [
        {
            "symbol": new_name(listing),
            "side": "buy" if trade.buy else "sell",
            "price": _number(padded(tape.price(trade.price), digits)),
            "qty": _number(padded(tape.size(trade.lots), _QTY_DIGITS)),
            "ord_type": "market",
            "trade_id": trade.id,
            "timestamp": iso_micro(trade.at_us),
        }
        for trade in trades
    ]
    return encode({"channel": "trade", "type": kind, "data": rows})


def _book(book: Book, slot: int, levels: Levels, kind: str) -> Iterable[bytes]:
    if not levels.bids and not levels.asks:
        return
    row: dict[str, Any] = {
        "symbol": new_name(book.listing),
        "bids": [_level(book, price, lots) for price, lots in levels.bids],
        "asks": [_level(book, price, lots) for price, lots in levels.asks],
        "checksum": checksum(book, book.levels(slot)),
        "timestamp": iso_micro(book.moment(slot) * 1000),
    }
    yield encode({"channel": "book", "type": kind, "data": [row]})


def _level(book: Book, price: int, lots: int) -> dict[str, Raw]:
    digits = split(book.listing.tick)[1]
    return {
        "price": _number(padded(book.tape.price(price), digits)),
        "qty": _number(padded(book.tape.size(lots), _QTY_DIGITS)),
    }


def checksum(book: Book, levels: Levels) -> int:
    """CRC32 of the best ten asks, then bids: digits without the point and the zeros before them."""
    digits = split(book.listing.tick)[1]

    def texts(side: Side) -> Iterator[str]:
        for price, lots in side[:_CHECKED]:
            yield padded(book.tape.price(price), digits)
            yield padded(book.tape.size(lots), _QTY_DIGITS)

    parts = (text.replace(".", "").lstrip("0") for side in (levels.asks, levels.bids) for text in texts(side))
    return crc32("".join(parts).encode())


def _open(world: World, call: Call) -> Session | None:
    return Kraken(world, call) if call.path == "/v2" else None


HOSTS: dict[str, Callable[[World, Call], Session | None]] = {"ws.kraken.com": _open}
