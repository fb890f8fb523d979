"""Coinbase Exchange: snapshot, l2update, match, ticker. Only for replaying recordings.

Traps: the side of a match is the maker's, that of a ticker the taker's; the book has no sequence at all; a ticker had
no sizes of the best prices before 2022.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct
from msgspec.json import Decoder

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import Id, Name, Text, ZonedTime, check_levels, epoch_ms, positive, unsigned
from coinswarm.ticks.markets import Markets
from coinswarm.ticks.model import Ack, BookUpdate, Event, Heartbeat, Level, TopOfBook, Trade, Unknown
from coinswarm.ticks.protocol import BookRule
from coinswarm.ticks.venues._connection import UNREADABLE, Connection, SnapshotFirst, malformed, reading, unlisted
from coinswarm.ticks.venues.coinbase import SLUG, TAKER_SIDE


class _Match(Struct, tag_field="type", tag="match", gc=False):
    product_id: Name
    trade_id: Id
    price: Text
    size: Text
    side: Literal["buy", "sell"]
    time: ZonedTime


class _LastMatch(Struct, tag_field="type", tag="last_match", gc=False):
    product_id: Name
    trade_id: Id
    price: Text
    size: Text
    side: Literal["buy", "sell"]
    time: ZonedTime


class _Level(Struct, array_like=True, gc=False):
    price: str
    size: str


class _Snapshot(Struct, tag_field="type", tag="snapshot"):
    product_id: Name
    bids: list[_Level]
    asks: list[_Level]
    time: ZonedTime | None = None


class _Change(Struct, array_like=True, gc=False):
    side: Literal["buy", "sell"]
    price: str
    size: str


class _Changes(Struct, tag_field="type", tag="l2update"):
    product_id: Name
    changes: list[_Change]
    time: ZonedTime


class _Ticker(Struct, tag_field="type", tag="ticker"):
    product_id: Name
    time: ZonedTime | None = None
    best_bid: str = ""
    best_bid_size: str = ""
    best_ask: str = ""
    best_ask_size: str = ""


class _Heartbeat(Struct, tag_field="type", tag="heartbeat"):
    pass


class _Channel(Struct):
    name: str = ""


class _Other(Struct):
    """Answers to requests, and messages of kinds that are not ours."""

    type: str = ""
    channels: list[_Channel] = []
    message: str = ""
    reason: str = ""


_decode = Decoder(_Match | _LastMatch | _Snapshot | _Changes | _Ticker | _Heartbeat).decode
_decode_other = Decoder(_Other).decode
_OURS = ("match", "last_match", "snapshot", "l2update", "ticker", "heartbeat")
_HEARTBEAT = (Heartbeat(),)


def connections(market: str, instruments: Sequence[Instrument] | None = None) -> tuple[LegacyCoinbase, ...]:
    """The one connection; it subscribes to nothing."""
    return (LegacyCoinbase(instruments),)


class LegacyCoinbase(Connection):
    """Frames of `wss://ws-feed.exchange.coinbase.com`, once `ws-feed.pro.coinbase.com`."""

    slug = SLUG
    name = "legacy_coinbase"
    url = "wss://ws-feed.exchange.coinbase.com"

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        super().__init__(Markets.of(instruments))

    def subscribe(self) -> tuple[bytes, ...]:
        """Nothing: the protocol is only replayed."""
        return ()

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what Coinbase documents.
        """
        try:
            message = _decode(frame)
        except UNREADABLE as error:
            return self._other(frame, error)
        if type(message) is _Heartbeat:
            return _HEARTBEAT
        try:
            symbol = self._markets[message.product_id].symbol
        except KeyError:
            return [unlisted(message.product_id)]
        if type(message) is _Changes:
            bids: list[Level] = []
            asks: list[Level] = []
            for change in message.changes:
                (bids if change.side == "buy" else asks).append((change.price, change.size))
            check_levels(bids)
            check_levels(asks)
            return [BookUpdate(symbol, False, bids, asks, epoch_ms(message.time))]
        if type(message) is _Snapshot:
            return [_snapshot(symbol, message)]
        if type(message) is _Ticker:
            return [_ticker(symbol, message)]
        number, side = message.trade_id, TAKER_SIDE[message.side.upper()]
        price, size = positive(message.price), positive(message.size)
        return [Trade(symbol, price, size, side, epoch_ms(message.time), str(number), number, number)]

    def _other(self, frame: bytes, error: Exception) -> Sequence[Event]:
        message = reading(self.name, _decode_other, frame)
        if message.type in _OURS:
            raise malformed(self.name, error)
        if message.type == "subscriptions":
            return [Ack(True, f"subscribed {' '.join(channel.name for channel in message.channels)}".strip()[:200])]
        if message.type == "error":
            return [Ack(False, f"{message.message} {message.reason}".strip()[:200])]
        return [Unknown(message.type[:60] or "without type")]

    def book_rule(self, symbol: str) -> BookRule:
        """There is no sequence, and no other proof."""
        return SnapshotFirst()


def _snapshot(symbol: str, message: _Snapshot) -> BookUpdate:
    bids: list[Level] = [(level.price, level.size) for level in message.bids]
    asks: list[Level] = [(level.price, level.size) for level in message.asks]
    check_levels(bids)
    check_levels(asks)
    return BookUpdate(symbol, True, bids, asks, 0 if message.time is None else epoch_ms(message.time))


def _ticker(symbol: str, message: _Ticker) -> Event:
    ts = 0 if message.time is None else epoch_ms(message.time)
    texts = (message.best_bid, message.best_bid_size, message.best_ask, message.best_ask_size)
    if not all(texts):
        return Unknown("ticker without sizes")
    bid, bid_size, ask, ask_size = map(unsigned, texts)
    if not bid.strip("0.") or not ask.strip("0."):
        return Unknown("ticker of one side")
    return TopOfBook(symbol, bid, bid_size, ask, ask_size, ts)
