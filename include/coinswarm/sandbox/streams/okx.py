"""OKX v5: `/public` and `/business`, ping and pong as plain text, numbers of books that jump."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec.json import encode

from coinswarm.sandbox.exchanges.okx import find, funding_row, interest_row, ticker_row
from coinswarm.sandbox.exchanges.okx_trades import size, trade_row
from coinswarm.sandbox.market.books import Book, Levels, Side
from coinswarm.sandbox.market.model import Listing
from coinswarm.sandbox.market.trades import Aggregate, Tape, Trade
from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams.session import AggregateFeed, BookFeed, Feed, Message, PeriodicFeed, Session, TradeFeed

_PUBLIC = ("trades", "books", "bbo-tbt", "tickers", "funding-rate", "open-interest", "liquidation-orders")
_BUSINESS = ("trades-all",)
_OF_SWAPS = ("funding-rate", "open-interest")
_FUNDING_MS, _INTEREST_MS, _TICKER_MS, _FORCED_MS = 30_000, 3_000, 1_000, 1_000

Argument = dict[str, Any]


class Okx(Session):
    """One connection of a path."""

    def __init__(self, world: World, call: Call, channels: Sequence[str]) -> None:
        """`channels` are those of the path."""
        super().__init__(world, call)
        self._channels = channels
        self._name = f"{hash((call.path, world.now())) & 0xFFFFFFFF:08x}"

    def heard(self, text: bytes, now: int) -> Iterable[Message]:
        """Requests, and plain pings."""
        if text == b"ping":
            return [Message(b"pong")]
        return super().heard(text, now)

    def request(self, request: dict[str, Any], now: int) -> Iterator[Message]:
        """Subscribe and unsubscribe, argument by argument."""
        op, arguments = request.get("op"), request.get("args")
        if op not in ("subscribe", "unsubscribe") or not isinstance(arguments, list):
            yield self._error("60012", f"Invalid request: {encode(request).decode()[:200]}")
            return
        for argument in arguments:
            feeds = self._feeds(argument) if isinstance(argument, dict) else None
            if feeds is None:
                yield self._error("60018", f"Wrong URL or {encode(argument).decode()[:200]} doesn't exist.")
                continue
            yield Message(encode({"event": op, "arg": argument, "connId": self._name}))
            for name, feed in feeds.items():
                if op == "unsubscribe":
                    self.feeds.pop(name, None)
                elif name not in self.feeds:
                    yield from self.add(name, feed, now)

    def unreadable(self, text: bytes) -> Iterable[Message]:
        """No JSON."""
        yield self._error("60012", "Invalid request")

    def _error(self, code: str, message: str) -> Message:
        return Message(encode({"event": "error", "code": code, "msg": message, "connId": self._name}))

    def _feeds(self, argument: Argument) -> dict[str, Feed] | None:
        channel, name = argument.get("channel"), argument.get("instId", "")
        if channel not in self._channels or not isinstance(channel, str):
            return None
        if channel == "liquidation-orders":
            if argument.get("instType") != "SWAP":
                return None
            swaps = [x for x in self.world.market.listings("okx") if x.market == "swap"]
            return {f"{channel} {x.symbol}": self._forced(argument, x) for x in swaps}
        listing = find(self.world, name) if isinstance(name, str) else None
        if listing is None or (channel in _OF_SWAPS and not listing.perpetual):
            return None
        return {f"{channel} {name}": self._feed(argument, channel, listing)}

    def _feed(self, argument: Argument, channel: str, listing: Listing) -> Feed:
        world = self.world
        tape, book = world.market.tape(listing), world.market.book(listing)
        if channel == "trades-all":
            return TradeFeed(tape, lambda trades: [_data(argument, trade_row(tape, trade)) for trade in trades])
        if channel == "trades":
            return AggregateFeed(tape, lambda orders: [_data(argument, _merged(tape, order)) for order in orders])
        if channel == "books":
            return BookFeed(
                book,
                lambda before, slot, changed: [_book(argument, book, before, slot, changed)],
                lambda slot, whole: [_book(argument, book, None, slot, whole)],
            )
        if channel == "bbo-tbt":

            def top(slot: int) -> Iterable[bytes]:
                best = Levels(book.levels(slot).bids[:1], book.levels(slot).asks[:1])
                return [_data(argument, _sides(book, slot, best) | {"seqId": book.number(slot)})]

            return BookFeed(book, lambda before, slot, _: top(slot), lambda slot, _: top(slot), channel="top")
        rows: dict[str, tuple[str, int, Callable[[Listing, World], dict[str, str]]]] = {
            "tickers": ("ticker", _TICKER_MS, ticker_row),
            "funding-rate": ("funding", _FUNDING_MS, funding_row),
            "open-interest": ("open_interest", _INTEREST_MS, interest_row),
        }
        kind, step, row = rows[channel]

        def render(at: int) -> Iterable[bytes]:
            return [_data(argument, row(listing, world))]

        return PeriodicFeed(kind, listing.symbol, step, render, first=render)

    def _forced(self, argument: Argument, listing: Listing) -> Feed:
        tape = self.world.market.tape(listing)

        def latest(trades: Sequence[Trade]) -> Iterable[bytes]:
            # One of a contract and second, however many there were.
            by_second = {trade.at_us // (_FORCED_MS * 1000): trade for trade in trades}
            return [_data(argument, _order(tape, trade)) for trade in by_second.values()]

        return TradeFeed(tape, latest, every_ms=_FORCED_MS, where=tape.forced, channel="liquidations")


def _data(argument: Argument, row: dict[str, Any]) -> bytes:
    return encode({"arg": argument, "data": [row]})


def _merged(tape: Tape, order: Aggregate) -> dict[str, str]:
    return {
        "instId": tape.listing.symbol,
        "tradeId": str(order.last),
        "px": tape.price(order.price),
        "sz": size(tape, order.lots),
        "side": "buy" if order.buy else "sell",
        "ts": str(order.at_ms),
        "count": str(order.last - order.first + 1),
        "source": "0",
    }


def _sides(book: Book, slot: int, levels: Levels) -> dict[str, Any]:
    def rows(side: Side) -> list[list[str]]:
        return [
            [book.tape.price(price), size(book.tape, lots), "0", str(1 + price % 7 if lots else 0)]
            for price, lots in side
        ]

    return {"asks": rows(levels.asks), "bids": rows(levels.bids), "ts": str(book.moment(slot))}


def _book(argument: Argument, book: Book, before: int | None, slot: int, levels: Levels) -> bytes:
    numbers = {
        "checksum": 0,
        "seqId": book.number(slot),
        "prevSeqId": -1 if before is None else book.number(before),
    }
    action = "snapshot" if before is None else "update"
    return encode({"arg": argument, "action": action, "data": [_sides(book, slot, levels) | numbers]})


def _order(tape: Tape, trade: Trade) -> dict[str, Any]:
    listing = tape.listing
    family = listing.symbol.removesuffix("-SWAP")
    detail = {
        "bkLoss": "0",
        "bkPx": tape.price(trade.price),
        "ccy": "",
        "posSide": "short" if trade.buy else "long",
        "side": "buy" if trade.buy else "sell",
        "sz": size(tape, trade.lots),
        "ts": str(trade.at_ms),
    }
    return {"details": [detail], "instFamily": family, "instId": listing.symbol, "instType": "SWAP", "uly": family}


def _open(world: World, call: Call) -> Session | None:
    channels = {"/ws/v5/public": _PUBLIC, "/ws/v5/business": _BUSINESS}.get(call.path)
    return None if channels is None else Okx(world, call, channels)


HOSTS: dict[str, Callable[[World, Call], Session | None]] = dict.fromkeys(
    ("ws.okx.com", "wseea.okx.com", "wsus.okx.com"), _open
)
