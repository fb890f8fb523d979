"""Kraken Futures, WebSocket v1: one message a level of the book, past trades newest first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec import Raw
from msgspec.json import encode

from coinswarm.sandbox.exchanges.kraken import find_contract
from coinswarm.sandbox.exchanges.kraken_trades import kind, uid
from coinswarm.sandbox.market.books import Book, Levels
from coinswarm.sandbox.market.model import HOUR, Listing
from coinswarm.sandbox.market.numbers import rate
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams.session import BookFeed, Feed, Message, PeriodicFeed, Session, TradeFeed

_PAST_TRADES = 100
_FEEDS = ("trade", "book", "ticker")
_NUMBERS_A_SLOT = 256


class KrakenFutures(Session):
    """One connection."""

    def opened(self, now: int) -> Iterable[Message]:
        """The version of the protocol."""
        yield Message(b'{"event":"info","version":1}')

    def request(self, request: dict[str, Any], now: int) -> Iterator[Message]:
        """Subscribe and unsubscribe."""
        event, feed, products = request.get("event"), request.get("feed"), request.get("product_ids")
        if event not in ("subscribe", "unsubscribe"):
            yield _alert("Bad request")
            return
        if feed == "heartbeat":
            yield Message(encode({"event": f"{event}d", "feed": feed}))
            if event == "unsubscribe":
                self.feeds.pop("heartbeat", None)
            else:
                yield from self.add("heartbeat", PeriodicFeed("heartbeat", "", 1_000, _beat), now)
            return
        if feed not in _FEEDS or not isinstance(products, list) or not products:
            yield _alert("Invalid feed" if feed not in _FEEDS else "Bad request")
            return
        found = [find_contract(product, self.world) if isinstance(product, str) else None for product in products]
        if None in found:
            yield _alert("Invalid product id")
            return
        listings = [listing for listing in found if listing is not None]
        yield Message(encode({"event": f"{event}d", "feed": feed, "product_ids": [x.symbol for x in listings]}))
        for listing in listings:
            name = f"{feed} {listing.symbol}"
            if event == "unsubscribe":
                self.feeds.pop(name, None)
            elif name not in self.feeds:
                yield from self.add(name, self._feed(feed, listing), now)

    def unreadable(self, text: bytes) -> Iterable[Message]:
        """No JSON."""
        yield _alert("Failed to parse json message")

    def _feed(self, feed: str, listing: Listing) -> Feed:
        if feed == "trade":
            tape = self.world.market.tape(listing)
            return TradeFeed(
                tape,
                lambda trades: [encode(_trade(tape, trade)) for trade in trades],
                past=_PAST_TRADES,
                render_past=lambda trades: [_past(tape, trades)],
            )
        if feed == "ticker":

            def render(at: int) -> Iterable[bytes]:
                return [encode(self._ticker(listing))]

            return PeriodicFeed("ticker", listing.symbol, 1_000, render, first=render)
        return _Levels(self.world.market.book(listing)).feed()

    def _ticker(self, listing: Listing) -> dict[str, Any]:
        world = self.world
        quote = world.market.quote(listing)
        now = quote.at_ms
        paid = world.market.funding(listing, now - 2 * HOUR, now + 1)
        current, index = (paid[-1].rate if paid else "0"), float(quote.index_price)
        return {
            "time": now,
            "product_id": listing.symbol,
            "funding_rate": _number(rate(float(current) * index, 12)),
            "funding_rate_prediction": _number(rate(float(quote.funding) * index, 12)),
            "relative_funding_rate": _number(current),
            "relative_funding_rate_prediction": _number(quote.funding),
            "next_funding_rate_time": quote.next_funding_ms,
            "feed": "ticker",
            "bid": _number(quote.bid),
            "ask": _number(quote.ask),
            "bid_size": 1,
            "ask_size": 1,
            "dtm": 0,
            "leverage": "50x",
            "index": _number(quote.index_price),
            "last": _number(quote.last),
            "suspended": False,
            "tag": "perpetual",
            "pair": f"{listing.symbol[3:6]}:USD",
            "openInterest": _number(quote.open_interest),
            "markPrice": _number(quote.mark),
            "maturityTime": 0,
            "post_only": False,
        }


class _Levels:
    """A book whose messages are single levels with consecutive numbers of this subscription."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._number = 0

    def feed(self) -> Feed:
        return BookFeed(self._book, self._changed, self._whole)

    def _whole(self, slot: int, levels: Levels) -> Iterable[bytes]:
        # Numbers never go back, even if the book is asked for again.
        self._number = slot * _NUMBERS_A_SLOT
        yield encode(
            {
                "feed": "book_snapshot",
                "product_id": self._book.listing.symbol,
                "timestamp": self._book.moment(slot),
                "seq": self._number,
                "tickSize": None,
                "bids": [self._level(price, lots) for price, lots in levels.bids],
                "asks": [self._level(price, lots) for price, lots in levels.asks],
            }
        )

    def _changed(self, before: int, slot: int, levels: Levels) -> Iterable[bytes]:
        changes = [(side, *row) for side, rows in (("buy", levels.bids), ("sell", levels.asks)) for row in rows]
        # What is gone first, so that the book is never crossed in between.
        for side, price, lots in sorted(changes, key=lambda change: change[2] > 0):
            self._number += 1
            row = {
                "feed": "book",
                "product_id": self._book.listing.symbol,
                "side": side,
                "seq": self._number,
                **self._level(price, lots),
                "timestamp": self._book.moment(slot),
            }
            yield encode(row)

    def _level(self, price: int, lots: int) -> dict[str, Raw]:
        return {"price": _float(self._book.tape.price(price)), "qty": _float(self._book.tape.size(lots))}


def _number(text: str) -> Raw:
    return Raw(text.encode())


def _float(text: str) -> Raw:
    return Raw((text if "." in text else f"{text}.0").encode())


def _trade(tape: Tape, trade: Trade) -> dict[str, Any]:
    return {
        "feed": "trade",
        "product_id": tape.listing.symbol,
        "uid": uid(tape, trade),
        "side": "buy" if trade.buy else "sell",
        "type": kind(tape, trade),
        "seq": trade.id,
        "time": trade.at_ms,
        "qty": _float(tape.size(trade.lots)),
        "price": _float(tape.price(trade.price)),
    }


def _past(tape: Tape, trades: Sequence[Trade]) -> bytes:
    rows = [_trade(tape, trade) for trade in reversed(trades)]
    return encode({"feed": "trade_snapshot", "product_id": tape.listing.symbol, "trades": rows})


def _beat(at: int) -> Iterable[bytes]:
    return [encode({"feed": "heartbeat", "time": at})]


def _alert(message: str) -> Message:
    return Message(encode({"event": "alert", "message": message}))


def _open(world: World, call: Call) -> Session | None:
    return KrakenFutures(world, call) if call.path == "/ws/v1" else None


HOSTS: dict[str, Callable[[World, Call], Session | None]] = {"futures.kraken.com": _open}
