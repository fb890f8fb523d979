"""Deribit: JSON-RPC; heartbeats that have to be answered, books by change, tickers of perpetuals and options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from coinswarm.sandbox.exchanges.deribit import envelope, option_ticker, perpetual_ticker
from coinswarm.sandbox.exchanges.deribit_trades import trade_rows
from coinswarm.sandbox.market.books import Book, Levels, Side
from coinswarm.sandbox.market.model import Listing, OptionQuote
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams.session import BookFeed, Feed, Hangup, Message, PeriodicFeed, Session, TradeFeed

_ASSETS = {"btc_usd": "BTC", "eth_usd": "ETH"}
_INTERVALS = ("100ms", "agg2")
_TICKER_MS = 1_000
# Hundreds of options: what a venue of this size says each second is a load of its own.
_OPTIONS_MS = 30_000
_SHORTEST_HEARTBEAT = 10
_METHOD_NOT_FOUND, _INVALID_PARAMS, _NOT_AUTHORISED = -32601, -32602, 13778


class Deribit(Session):
    """One connection."""

    def __init__(self, world: World, call: Call) -> None:
        """No heartbeats until they are asked for."""
        super().__init__(world, call)
        self._beat_ms = 0
        self._beat_at = 0
        self._tested = False

    def request(self, request: dict[str, Any], now: int) -> Iterator[Message]:
        """The methods of a public connection."""
        method, number = request.get("method"), request.get("id")
        params = request.get("params")
        params = params if isinstance(params, dict) else {}
        self._tested = False
        if method in ("public/test", "public/hello"):
            yield self._result({"version": "1.2.26"}, number)
        elif method == "public/get_time":
            yield self._result(now, number)
        elif method == "public/set_heartbeat":
            seconds = params.get("interval")
            if not isinstance(seconds, int) or seconds < _SHORTEST_HEARTBEAT:
                yield self._error(_INVALID_PARAMS, "Invalid params", number)
                return
            self._beat_ms, self._beat_at = seconds * 1000, now
            yield self._result("ok", number)
        elif method == "public/disable_heartbeat":
            self._beat_ms = 0
            yield self._result("ok", number)
        elif method in ("public/subscribe", "public/unsubscribe"):
            yield from self._subscriptions(method, params.get("channels"), number, now)
        elif method == "public/unsubscribe_all":
            self.feeds.clear()
            yield self._result("ok", number)
        else:
            yield self._error(_METHOD_NOT_FOUND, "Method not found", number)

    def unreadable(self, text: bytes) -> Iterable[Message]:
        """No JSON."""
        yield self._error(-32700, "Parse error", None)

    def due(self, now: int) -> Iterator[Message]:
        """Feeds, and heartbeats with a test; who does not answer it until the next one is cut off."""
        yield from super().due(now)
        if self._beat_ms and not 0 <= now - self._beat_at < self._beat_ms:
            if self._tested:
                raise Hangup(1000)
            self._beat_at, self._tested = now, True
            for kind in ("heartbeat", "test_request"):
                yield Message(encode({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}}), "heartbeat")

    def _subscriptions(self, method: str, channels: object, number: Any, now: int) -> Iterator[Message]:
        if not isinstance(channels, list) or not all(isinstance(channel, str) for channel in channels):
            yield self._error(_INVALID_PARAMS, "Invalid params", number)
            return
        if any(channel.endswith(".raw") for channel in channels):
            yield self._error(_NOT_AUTHORISED, "raw_subscriptions_not_available_for_unauthorized", number)
            return
        if method == "public/unsubscribe":
            left = [channel for channel in channels if self.feeds.pop(channel, None) is not None]
            yield self._result(left, number)
            return
        # What does not exist is left out of the answer, and that is all.
        found = {channel: feed for channel in channels if (feed := self._feed(channel)) is not None}
        yield self._result(list(found), number)
        for channel, feed in found.items():
            if channel not in self.feeds:
                yield from self.add(channel, feed, now)

    def _result(self, result: Any, number: Any) -> Message:
        return Message(encode({**envelope(self.world, result=result), "id": number}))

    def _error(self, code: int, message: str, number: Any) -> Message:
        return Message(encode({**envelope(self.world, error={"code": code, "message": message}), "id": number}))

    # ---- channels

    def _feed(self, channel: str) -> Feed | None:
        kind, *parts = channel.split(".")
        if kind == "deribit_volatility_index" and len(parts) == 1 and parts[0] in _ASSETS:
            return self._volatility(channel, parts[0])
        if kind == "markprice" and len(parts) == 2 and parts[0] == "options" and parts[1] in _ASSETS:
            return self._marks(channel, _ASSETS[parts[1]])
        if len(parts) < 2 or parts[-1] not in _INTERVALS:
            return None
        listing = self.world.market.find("deribit", "perpetual", parts[0])
        if kind == "ticker" and len(parts) == 2:
            return self._ticker(channel, parts[0], listing)
        if listing is None:
            return None
        tape, book = self.world.market.tape(listing), self.world.market.book(listing)
        if kind == "trades" and len(parts) == 2:
            return TradeFeed(tape, lambda trades: [self._trades(channel, tape, trades)])
        if kind == "book" and len(parts) == 2:
            return _changes(channel, book)
        if kind == "book" and len(parts) == 4 and parts[2] in ("1", "10", "20"):
            return _grouped(channel, book, int(parts[2]))
        return None

    def _trades(self, channel: str, tape: Tape, trades: Sequence[Trade]) -> bytes:
        return _notification(channel, trade_rows(tape, trades, self.world))

    def _ticker(self, channel: str, name: str, listing: Listing | None) -> Feed | None:
        if listing is not None:

            def perpetual(at: int) -> Iterable[bytes]:
                return [_notification(channel, perpetual_ticker(listing, self.world))]

            return PeriodicFeed("ticker", name, _TICKER_MS, perpetual, first=perpetual)
        asset = name.partition("-")[0]
        if asset not in _ASSETS.values() or name not in _chain(self.world, asset, self.world.now()):
            return None

        def option(at: int) -> Iterable[bytes]:
            quote = _chain(self.world, asset, at).get(name)
            return [] if quote is None else [_notification(channel, option_ticker(quote, self.world, at))]

        return PeriodicFeed("volatility", name, _OPTIONS_MS, option, first=option)

    def _marks(self, channel: str, asset: str) -> Feed:
        def render(at: int) -> Iterable[bytes]:
            at = at // 1000 * 1000
            rows = [
                {
                    "timestamp": at,
                    "mark_price": quote.mark,
                    "iv": round(quote.mark_iv / 100, 4),
                    "instrument_name": name,
                }
                for name, quote in _chain(self.world, asset, at).items()
            ]
            return [_notification(channel, rows)]

        return PeriodicFeed("volatility", asset, _OPTIONS_MS, render, first=render)

    def _volatility(self, channel: str, index: str) -> Feed:
        def render(at: int) -> Iterable[bytes]:
            second = at // 1000 * 1000
            level = self.world.market.volatility(_ASSETS[index], 1000, second, second + 1)
            if not level:
                return []
            data = {"volatility": level[-1].close, "timestamp": second, "index_name": index}
            return [_notification(channel, data)]

        return PeriodicFeed("volatility", index, _TICKER_MS, render, first=render)


def _notification(channel: str, data: Any) -> bytes:
    return encode({"jsonrpc": "2.0", "method": "subscription", "params": {"channel": channel, "data": data}})


def _chain(world: World, asset: str, at: int) -> dict[str, OptionQuote]:
    # All tickers of options share the chain of a moment.
    return _chain_of(world, asset, at // _TICKER_MS * _TICKER_MS)


@lru_cache(maxsize=4)
def _chain_of(world: World, asset: str, at: int) -> dict[str, OptionQuote]:
    return {quote.option.name: quote for quote in world.market.options(asset, at)}


def _amount(book: Book, lots: int) -> Raw:
    return Raw(f"{lots * int(book.listing.contract)}.0".encode())


def _price(book: Book, ticks: int) -> Raw:
    return Raw(book.tape.price(ticks).encode())


def _changes(channel: str, book: Book) -> Feed:
    name = book.listing.symbol

    def whole(slot: int, levels: Levels) -> Iterable[bytes]:
        def rows(side: Side) -> list[list[Any]]:
            return [["new", _price(book, price), _amount(book, lots)] for price, lots in side]

        data = {
            "type": "snapshot",
            "timestamp": book.moment(slot),
            "instrument_name": name,
            "change_id": book.number(slot),
            "bids": rows(levels.bids),
            "asks": rows(levels.asks),
        }
        return [_notification(channel, data)]

    def changed(before: int, slot: int, levels: Levels) -> Iterable[bytes]:
        def rows(side: Side, old: Side) -> list[list[Any]]:
            known = {price for price, _ in old}
            return [
                [
                    "delete" if not lots else "change" if price in known else "new",
                    _price(book, price),
                    _amount(book, lots),
                ]
                for price, lots in side
            ]

        old = book.levels(before)
        data = {
            "type": "change",
            "timestamp": book.moment(slot),
            "prev_change_id": book.number(before),
            "instrument_name": name,
            "change_id": book.number(slot),
            "bids": rows(levels.bids, old.bids),
            "asks": rows(levels.asks, old.asks),
        }
        return [_notification(channel, data)]

    return BookFeed(book, changed, whole)


def _grouped(channel: str, book: Book, depth: int) -> Feed:
    def render(slot: int) -> Iterable[bytes]:
        def rows(side: Side) -> list[list[Raw]]:
            return [[_price(book, price), _amount(book, lots)] for price, lots in side[:depth]]

        levels = book.levels(slot)
        data = {
            "timestamp": book.moment(slot),
            "instrument_name": book.listing.symbol,
            "change_id": book.number(slot),
            "bids": rows(levels.bids),
            "asks": rows(levels.asks),
        }
        return [_notification(channel, data)]

    return BookFeed(book, lambda before, slot, _: render(slot), lambda slot, _: render(slot))


def _open(world: World, call: Call) -> Session | None:
    return Deribit(world, call) if call.path == "/ws/api/v2" else None


HOSTS: dict[str, Callable[[World, Call], Session | None]] = dict.fromkeys(
    ("www.deribit.com", "streams.deribit.com"), _open
)
