"""Coinbase Advanced: every frame of a connection is counted, and the side of a trade is the maker's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from msgspec.json import encode

from coinswarm.sandbox.exchanges._parameters import iso_micro
from coinswarm.sandbox.exchanges.coinbase_trades import trade_row
from coinswarm.sandbox.market.books import Levels
from coinswarm.sandbox.market.model import Listing
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, World
from coinswarm.sandbox.streams.session import BookFeed, Feed, Hangup, Message, PeriodicFeed, Session, TradeFeed

_PAST_TRADES = 50
_BATCH_MS = 250
_FIRST_REQUEST_MS = 5_000
_EPOCH = "1970-01-01T00:00:00Z"
_CHANNELS = ("market_trades", "level2", "heartbeats")
_OF_PRODUCTS = ("market_trades", "level2")


class Coinbase(Session):
    """One connection."""

    def __init__(self, world: World, call: Call) -> None:
        """Nothing subscribed, nothing counted."""
        super().__init__(world, call)
        self._number = 0
        self._opened = world.now()
        self._subscriptions: dict[str, dict[str, None]] = {}

    def request(self, request: dict[str, Any], now: int) -> Iterator[Message]:
        """Subscribe and unsubscribe."""
        kind, channel = request.get("type"), request.get("channel")
        products = request.get("product_ids") or []
        if kind not in ("subscribe", "unsubscribe"):
            yield _error("failure to subscribe", "type is not supported")
            return
        if channel not in _CHANNELS or not isinstance(products, list):
            yield _error("failure to subscribe", f"channel {str(channel)[:40]} is not supported")
            return
        found: list[Listing] = []
        for product in products:
            product_listing = self.world.market.find("coinbase", "spot", _listed(str(product)))
            if product_listing is None:
                yield _error("failure to subscribe", f"ProductID {str(product)[:40]} could not be parsed")
                return
            found.append(product_listing)
        names = self._subscriptions.setdefault(channel, {})
        feeds: list[tuple[str, Feed]] = []
        named: list[tuple[str, Listing | None]] = [(listing.symbol, listing) for listing in found]
        for name, listing in named if channel in _OF_PRODUCTS else [("", None)]:
            if kind == "unsubscribe":
                names.pop(name, None)
                self.feeds.pop(f"{channel} {name}", None)
            elif name not in names:
                names[name] = None
                feeds.append((f"{channel} {name}", self._feed(channel, listing)))
        if not names:
            del self._subscriptions[channel]
        listed = {channel: [name for name in names if name] for channel, names in self._subscriptions.items()}
        yield Message(self._counted("subscriptions", [{"subscriptions": listed}]))
        for name, feed in feeds:
            yield from self.add(name, feed, now)

    def unreadable(self, text: bytes) -> Iterable[Message]:
        """No JSON."""
        yield _error("failure to parse the message", "invalid json")

    def due(self, now: int) -> Iterator[Message]:
        """Feeds; whoever asks for nothing within five seconds is sent away."""
        if not self._subscriptions and not 0 <= now - self._opened < _FIRST_REQUEST_MS:
            raise Hangup(1008)
        yield from super().due(now)

    def _feed(self, channel: str, listing: Listing | None) -> Feed:
        if listing is None:
            return PeriodicFeed("heartbeat", "", 1_000, lambda at: [self._beat(at)])
        if channel == "market_trades":
            tape = self.world.market.tape(listing)
            render = self._trades
            return TradeFeed(
                tape,
                lambda trades: [render(tape, trades, "update")],
                past=_PAST_TRADES,
                render_past=lambda trades: [render(tape, trades, "snapshot")],
                every_ms=_BATCH_MS,
            )
        book = self.world.market.book(listing)

        def levels(kind: str, slot: int, changed: Levels) -> bytes:
            at = _EPOCH if kind == "snapshot" else iso_micro(book.moment(slot) * 1000)
            updates = [
                {
                    "side": side,
                    "event_time": at,
                    "price_level": book.tape.price(price),
                    "new_quantity": book.tape.size(lots),
                }
                for side, rows in (("bid", changed.bids), ("offer", changed.asks))
                for price, lots in rows
            ]
            return self._counted("l2_data", [{"type": kind, "product_id": listing.symbol, "updates": updates}])

        return BookFeed(
            book,
            lambda before, slot, changed: [levels("update", slot, changed)],
            lambda slot, whole: [levels("snapshot", slot, whole)],
        )

    def _trades(self, tape: Tape, trades: Sequence[Trade], kind: str) -> bytes:
        rows = [trade_row(tape, trade) for trade in reversed(trades)]
        return self._counted("market_trades", [{"type": kind, "trades": rows}])

    def _beat(self, at: int) -> bytes:
        moment = datetime.fromtimestamp(at / 1000, UTC)
        seconds = at // 1000 % 10_000_000
        current = f"{moment:%Y-%m-%d %H:%M:%S}.{at % 1000:03d}000000 +0000 UTC m=+{seconds}.{at % 1000:03d}000000"
        return self._counted("heartbeats", [{"current_time": current, "heartbeat_counter": seconds}])

    def _counted(self, channel: str, events: list[dict[str, Any]]) -> bytes:
        """A frame with the connection's next number."""
        number, self._number = self._number, self._number + 1
        at = iso_micro(self.world.now() * 1000)
        frame = {
            "channel": channel,
            "client_id": "",
            "timestamp": f"{at[:-1]}000Z",
            "sequence_num": number,
            "events": events,
        }
        return encode(frame)


def _listed(product: str) -> str:
    # USDC books are those of USD, and come back under that name.
    return f"{product.removesuffix('-USDC')}-USD" if product.endswith("-USDC") else product


def _error(message: str, reason: str) -> Message:
    return Message(encode({"type": "error", "message": message, "reason": reason}))


def _open(world: World, call: Call) -> Session | None:
    return Coinbase(world, call) if call.path in ("", "/") else None


HOSTS: dict[str, Callable[[World, Call], Session | None]] = {"advanced-trade-ws.coinbase.com": _open}
