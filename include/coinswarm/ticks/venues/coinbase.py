"""Coinbase Advanced: market_trades, level2, heartbeats.

Traps: one subscribes to `level2` and hears `l2_data`; `sequence_num` counts all frames of a connection, whatever their
channel; the side of a trade is the maker's, and the newest trade comes first; a trade's time may be of the year 1, that
of a snapshot's levels of 1970; asks are called `offer`, and levels come in no order; `*-USDC` comes back as `*-USD`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Decoder, encode

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import Id, Name, Text, ZonedTime, check_levels, epoch_ms, positive, text_id
from coinswarm.ticks.markets import Markets
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Event,
    Heartbeat,
    Level,
    Trade,
    Unknown,
)
from coinswarm.ticks.model import Sequence as FrameNumber
from coinswarm.ticks.protocol import BookRule, Proof, Stream
from coinswarm.ticks.venues._connection import (
    UNREADABLE,
    Connection,
    SnapshotFirst,
    malformed,
    reading,
    unlisted,
)

SLUG = "coinbase"
TAKER_SIDE = {"BUY": "sell", "SELL": "buy"}
"""The side of a trade is what the maker did: the taker did the opposite."""


class _Trade(Struct, gc=False):
    product_id: Name
    trade_id: Text
    price: Text
    size: Text
    side: Literal["BUY", "SELL"]
    time: ZonedTime


class _TradeEvent(Struct):
    trades: list[_Trade]


class _Trades(Struct, tag_field="channel", tag="market_trades"):
    timestamp: ZonedTime
    sequence_num: Id
    events: list[_TradeEvent]


class _Level(Struct, gc=False):
    side: Literal["bid", "offer"]
    price_level: str
    new_quantity: str


class _BookEvent(Struct):
    type: Literal["snapshot", "update"]
    product_id: Name
    updates: list[_Level]


class _Books(Struct, tag_field="channel", tag="l2_data"):
    timestamp: ZonedTime
    sequence_num: Id
    events: list[_BookEvent]


class _Beat(Struct, gc=False):
    # The counter was text once.
    heartbeat_counter: Id | Text


class _Beats(Struct, tag_field="channel", tag="heartbeats"):
    sequence_num: Id
    events: list[_Beat]


class _Subscribed(Struct):
    subscriptions: dict[str, Raw] = {}


class _Subscriptions(Struct, tag_field="channel", tag="subscriptions"):
    sequence_num: Id
    events: list[_Subscribed]


class _Other(Struct):
    """Errors, and messages of kinds that are not ours."""

    channel: str = ""
    type: str = ""
    message: str = ""
    reason: str = ""
    sequence_num: Id | UnsetType = UNSET


class _Quote(Struct, gc=False):
    price: str
    size: str


class _Pricebook(Struct):
    product_id: Name
    bids: list[_Quote]
    asks: list[_Quote]
    time: ZonedTime


class _Snapshot(Struct):
    pricebook: _Pricebook


_decode = Decoder(_Trades | _Books | _Beats | _Subscriptions).decode
_decode_other = Decoder(_Other).decode
_decode_snapshot = Decoder(_Snapshot).decode
_OURS = ("market_trades", "l2_data", "heartbeats", "subscriptions")
_CHANNELS = ("market_trades", "level2")


def connections(market: str, instruments: Sequence[Instrument] | None) -> tuple[Coinbase, ...]:
    """A connection for each product; instruments None takes any symbol and subscribes to nothing (replay).

    Frames are counted by connection: what is missing on one spoils the book of one product.
    """
    if instruments is None:
        return (Coinbase(None),)
    return tuple(Coinbase(one) for one in instruments if one.source == SLUG and one.market == "spot")


class Coinbase(Connection):
    """`wss://advanced-trade-ws.coinbase.com`, with one product. Its heartbeats keep it open."""

    slug = SLUG
    name = "coinbase"
    url = "wss://advanced-trade-ws.coinbase.com"

    def __init__(self, instrument: Instrument | None) -> None:
        super().__init__(Markets.of(None if instrument is None else [instrument]))
        if instrument is not None:
            self.name = f"coinbase_{instrument.venue_symbol}"
            self.streams = (
                Stream(Channel.TRADES, instrument.symbol, Proof.SEQUENCE, 120.0),
                Stream(Channel.BOOK, instrument.symbol, Proof.SEQUENCE, 60.0),
            )

    def subscribe(self) -> tuple[bytes, ...]:
        """One request a channel, heartbeats first."""
        products = list(self._venue_symbols.values())
        if not products:
            return ()
        beat = encode({"type": "subscribe", "channel": "heartbeats"})
        return (beat, *(_request("subscribe", channel, products) for channel in _CHANNELS))

    def _ask_again(self, venue_symbol: str) -> tuple[bytes, ...]:
        return tuple(_request(kind, "level2", [venue_symbol]) for kind in ("unsubscribe", "subscribe"))

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame, the number of the frame first.

        Raises:
            MalformedFrame: not what Coinbase documents.
        """
        try:
            message = _decode(frame)
        except UNREADABLE as error:
            return self._other(frame, error)
        events: list[Event] = [FrameNumber(message.sequence_num)]
        if type(message) is _Books:
            self._books(message, events)
        elif type(message) is _Trades:
            self._trades(message, events)
        elif type(message) is _Beats:
            for beat in message.events:
                counter = beat.heartbeat_counter
                events.append(Heartbeat(counter if isinstance(counter, int) else text_id(counter)))
        elif type(message) is _Subscriptions:
            channels = sorted({channel for event in message.events for channel in event.subscriptions})
            events.append(Ack(True, f"subscribed {' '.join(channels)}".strip()[:200]))
        return events

    def _trades(self, message: _Trades, events: list[Event]) -> None:
        markets = self._markets
        for group in message.events:
            # Newest first, and their numbers are to be seen in order.
            trades = group.trades if len(group.trades) == 1 else sorted(group.trades, key=_number)
            for trade in trades:
                try:
                    symbol = markets[trade.product_id].symbol
                except KeyError:
                    events.append(unlisted(trade.product_id))
                    continue
                number = text_id(trade.trade_id)
                at = trade.time if trade.time.year > 1 else message.timestamp
                events.append(
                    Trade(
                        symbol,
                        positive(trade.price),
                        positive(trade.size),
                        TAKER_SIDE[trade.side],
                        epoch_ms(at),
                        trade.trade_id,
                        number,
                        number,
                    )
                )

    def _books(self, message: _Books, events: list[Event]) -> None:
        number, ts = message.sequence_num, epoch_ms(message.timestamp)
        for event in message.events:
            try:
                symbol = self._markets[event.product_id].symbol
            except KeyError:
                events.append(unlisted(event.product_id))
                continue
            bids: list[Level] = []
            asks: list[Level] = []
            for level in event.updates:
                (bids if level.side == "bid" else asks).append((level.price_level, level.new_quantity))
            check_levels(bids)
            check_levels(asks)
            events.append(BookUpdate(symbol, event.type == "snapshot", bids, asks, ts, number, number))

    def _other(self, frame: bytes, error: Exception) -> Sequence[Event]:
        message = reading(self.name, _decode_other, frame)
        if message.channel in _OURS:
            raise malformed(self.name, error)
        if message.type == "error":
            answer: Event = Ack(False, f"{message.message} {message.reason}".strip()[:200])
        else:
            answer = Unknown((message.channel or message.type)[:60] or "without channel")
        number = message.sequence_num
        return [answer] if number is UNSET else [FrameNumber(number), answer]

    def decode_snapshot(self, symbol: str, body: bytes) -> BookUpdate:
        """The book of a recorded REST body; it has no number, so nothing live can follow it.

        Raises:
            MalformedFrame: not what Coinbase documents.
        """
        book = reading(self.name, _decode_snapshot, body).pricebook
        bids: list[Level] = [(quote.price, quote.size) for quote in book.bids]
        asks: list[Level] = [(quote.price, quote.size) for quote in book.asks]
        check_levels(bids)
        check_levels(asks)
        return BookUpdate(symbol, True, bids, asks, epoch_ms(book.time))

    def book_rule(self, symbol: str) -> BookRule:
        """The chain is that of the connection's frames: a missing one breaks all of its books."""
        return SnapshotFirst()


def _number(trade: _Trade) -> int:
    return text_id(trade.trade_id)


def _request(kind: str, channel: str, products: list[str]) -> bytes:
    return encode({"type": kind, "channel": channel, "product_ids": products})
