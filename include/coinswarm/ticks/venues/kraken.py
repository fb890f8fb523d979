"""Kraken spot, WebSocket v2.

Traps: numbers are JSON numbers whose zeros count in the checksum; books have no sequence, only a CRC32 of the best ten
levels, and levels that fall out of the depth are not deleted; each subscription of trades begins with the last 50.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zlib import crc32

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Decoder, encode

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import Id, Name, ZonedTime, epoch_ms, raw_positive, raw_unsigned
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
from coinswarm.ticks.protocol import BookRule, Ping, Proof, Stream
from coinswarm.ticks.venues._connection import UNREADABLE, Connection, SnapshotFirst, malformed, unlisted

SLUG = "kraken"
DEPTH = 10
"""The only depth that the checksum covers in full."""
CHECKSUM_LEVELS = 10


class _Trade(Struct, gc=False):
    symbol: Name
    side: Literal["buy", "sell"]
    price: Raw
    qty: Raw
    trade_id: Id
    timestamp: ZonedTime


class _Trades(Struct, tag_field="channel", tag="trade"):
    type: Literal["snapshot", "update"]
    data: list[_Trade]


class _Level(Struct, gc=False):
    price: Raw
    qty: Raw


class _Book(Struct):
    symbol: Name
    checksum: Id
    bids: list[_Level] = []
    asks: list[_Level] = []
    timestamp: ZonedTime | UnsetType = UNSET  # snapshots had none before 2025


class _Books(Struct, tag_field="channel", tag="book"):
    type: Literal["snapshot", "update"]
    data: list[_Book]


class _Heartbeat(Struct, tag_field="channel", tag="heartbeat"):
    pass


class _System(Struct):
    system: str


class _Status(Struct, tag_field="channel", tag="status"):
    data: list[_System]


class _Answered(Struct):
    channel: str = ""
    symbol: str = ""


class _Other(Struct):
    """Answers to requests, and messages of kinds that are not ours."""

    channel: str = ""
    method: str = ""
    success: bool | None = None
    error: str = ""
    result: _Answered | None = None


_decode = Decoder(_Trades | _Books | _Heartbeat | _Status).decode
_decode_other = Decoder(_Other).decode
_OURS = ("trade", "book", "heartbeat", "status")
_HEARTBEAT = (Heartbeat(),)


def connections(market: str, instruments: Sequence[Instrument] | None) -> tuple[KrakenSpot, ...]:
    """The one connection of the spot market; instruments None takes any symbol and subscribes to nothing (replay)."""
    return (KrakenSpot(instruments),)


class KrakenSpot(Connection):
    """`wss://ws.kraken.com/v2`: trades and books of ten levels."""

    slug = SLUG
    name = "kraken_spot"
    url = "wss://ws.kraken.com/v2"
    ping = Ping(b'{"method":"ping"}', 30.0)
    book_depth = DEPTH

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        spot = None if instruments is None else [i for i in instruments if i.source == SLUG and i.market == "spot"]
        super().__init__(Markets.of(spot, lambda instrument: f"{instrument.base}/{instrument.quote}"))
        self.streams = tuple(
            stream
            for symbol in self._venue_symbols
            for stream in (
                Stream(Channel.TRADES, symbol, Proof.SEQUENCE, 120.0),
                Stream(Channel.BOOK, symbol, Proof.CHECKSUM, 30.0),
            )
        )

    def subscribe(self) -> tuple[bytes, ...]:
        """One request a channel, for all symbols."""
        symbols = list(self._venue_symbols.values())
        if not symbols:
            return ()
        return (
            encode({"method": "subscribe", "params": {"channel": "trade", "symbol": symbols, "snapshot": True}}),
            encode({"method": "subscribe", "params": _book(symbols)}),
        )

    def _ask_again(self, venue_symbol: str) -> tuple[bytes, ...]:
        params = _book([venue_symbol])
        return tuple(encode({"method": method, "params": params}) for method in ("unsubscribe", "subscribe"))

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what Kraken documents.
        """
        try:
            message = _decode(frame)
        except UNREADABLE as error:
            return self._other(frame, error)
        if type(message) is _Trades:
            return self._trades(message)
        if type(message) is _Books:
            return [self._book(book, snapshot=message.type == "snapshot") for book in message.data]
        if type(message) is _Status:
            return [Unknown(f"status {part.system[:40]}") for part in message.data if part.system != "online"]
        return _HEARTBEAT

    def _trades(self, message: _Trades) -> list[Event]:
        events: list[Event] = []
        markets = self._markets
        # The order of past trades is not documented, and their numbers are to be seen in order.
        trades = message.data if message.type == "update" else sorted(message.data, key=lambda trade: trade.trade_id)
        for trade in trades:
            try:
                symbol = markets[trade.symbol].symbol
            except KeyError:
                events.append(unlisted(trade.symbol))
                continue
            number = trade.trade_id
            events.append(
                Trade(
                    symbol,
                    raw_positive(trade.price),
                    raw_positive(trade.qty),
                    trade.side,
                    epoch_ms(trade.timestamp),
                    str(number),
                    number,
                    number,
                )
            )
        return events

    def _book(self, book: _Book, *, snapshot: bool) -> Event:
        try:
            symbol = self._markets[book.symbol].symbol
        except KeyError:
            return unlisted(book.symbol)
        ts = 0 if book.timestamp is UNSET else epoch_ms(book.timestamp)
        return BookUpdate(symbol, snapshot, _levels(book.bids), _levels(book.asks), ts, checksum=book.checksum)

    def _other(self, frame: bytes, error: Exception) -> Sequence[Event]:
        try:
            message = _decode_other(frame)
        except UNREADABLE as worse:
            raise malformed(self.name, worse) from None
        if message.channel in _OURS:
            raise malformed(self.name, error)
        if message.channel:
            return [Unknown(message.channel[:60])]
        if message.method == "pong":
            return _HEARTBEAT
        if message.success is None and not message.error:
            return [Unknown(message.method[:60] or "without channel and method")]
        about = message.result or _Answered()
        detail = message.error or f"{message.method} {about.channel} {about.symbol}"
        return [Ack(bool(message.success) and not message.error, detail.strip()[:200])]

    def book_rule(self, symbol: str) -> BookRule:
        """There is no sequence; the checksum is the proof."""
        return SnapshotFirst()

    def checksum(self, symbol: str, bids: Sequence[Level], asks: Sequence[Level]) -> int | None:
        """CRC32 of the ten best asks, then bids."""
        return checksum(bids, asks)


def checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """CRC32 of the digits of the best ten asks, then bids: price and size without point and leading zeros."""
    return crc32(
        "".join(
            price.replace(".", "").lstrip("0") + size.replace(".", "").lstrip("0")
            for side in (asks, bids)
            for price, size in side[:CHECKSUM_LEVELS]
        ).encode()
    )


def _book(symbols: list[str]) -> dict[str, object]:
    return {"channel": "book", "symbol": symbols, "depth": DEPTH}


def _levels(levels: list[_Level]) -> list[Level]:
    return [(raw_positive(level.price), raw_unsigned(level.qty)) for level in levels]
