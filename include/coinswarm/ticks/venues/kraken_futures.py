"""Kraken Futures, WebSocket v1.

Traps: `PF_` contracts are linear in base units, `PI_` and `FI_` are dollars; bitcoin is spelled XBT; acknowledgements
carry the `feed` too; `funding_rate` is in dollars a contract, the relative one is the rate; past trades come newest
first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import Id, Moment, Name, raw_optional, raw_optional_signed, raw_positive, raw_unsigned
from coinswarm.ticks.markets import Market, Markets
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Event,
    Funding,
    Heartbeat,
    Level,
    Liquidation,
    OpenInterest,
    Trade,
    Unknown,
)
from coinswarm.ticks.protocol import BookRule, Proof, Stream
from coinswarm.ticks.venues._connection import RARE_SECONDS, UNREADABLE, Chain, Connection, malformed, unlisted

SLUG = "kraken"
_FUNDING_HOURS = 1
_FEEDS = {Channel.TRADES: "trade", Channel.BOOK: "book", Channel.FUNDING: "ticker"}
_NOTHING = Raw(b"")


class _Trade(Struct, tag_field="feed", tag="trade", gc=False):
    product_id: Name
    uid: Name
    side: Literal["buy", "sell"]
    seq: Id
    time: Moment
    qty: Raw
    price: Raw
    type: str = "fill"


class _Past(Struct, gc=False):
    uid: Name
    side: Literal["buy", "sell"]
    seq: Id
    time: Moment
    qty: Raw
    price: Raw
    type: str = "fill"


class _Trades(Struct, tag_field="feed", tag="trade_snapshot"):
    product_id: Name
    trades: list[_Past]


class _Level(Struct, gc=False):
    price: Raw
    qty: Raw


class _Snapshot(Struct, tag_field="feed", tag="book_snapshot"):
    product_id: Name
    timestamp: Moment
    seq: Id
    bids: list[_Level]
    asks: list[_Level]


class _Change(Struct, tag_field="feed", tag="book"):
    product_id: Name
    side: Literal["buy", "sell"]
    seq: Id
    price: Raw
    qty: Raw
    timestamp: Moment


class _Ticker(
    Struct, tag_field="feed", tag="ticker", rename={"mark_price": "markPrice", "open_interest": "openInterest"}
):
    product_id: Name
    time: Moment
    relative_funding_rate: Raw = _NOTHING
    next_funding_rate_time: Moment | None = None
    mark_price: Raw = _NOTHING
    index: Raw = _NOTHING
    open_interest: Raw = _NOTHING


class _Heartbeat(Struct, tag_field="feed", tag="heartbeat"):
    time: Moment


class _Other(Struct):
    """Answers to requests, and messages of kinds that are not ours."""

    event: str = ""
    feed: str = ""
    product_ids: list[str] = []
    message: str = ""


_decode = Decoder(_Trade | _Trades | _Snapshot | _Change | _Ticker | _Heartbeat).decode
_decode_other = Decoder(_Other).decode
_OURS = ("trade", "trade_snapshot", "book_snapshot", "book", "ticker", "heartbeat")
_HEARTBEAT = (Heartbeat(),)


def connections(market: str, instruments: Sequence[Instrument] | None) -> tuple[KrakenFutures, ...]:
    """The one connection of the futures; instruments None takes any symbol and subscribes to nothing (replay)."""
    return (KrakenFutures(instruments),)


class KrakenFutures(Connection):
    """`wss://futures.kraken.com/ws/v1`. It is kept alive by WebSocket pings, one a minute at least."""

    slug = SLUG
    name = "kraken_futures"
    url = "wss://futures.kraken.com/ws/v1"

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        futures = (
            None if instruments is None else [i for i in instruments if i.source == SLUG and i.market == "futures"]
        )
        super().__init__(Markets.of(futures))
        self.streams = tuple(
            stream
            for symbol in self._venue_symbols
            for stream in (
                Stream(Channel.TRADES, symbol, Proof.SEQUENCE, 300.0),
                Stream(Channel.BOOK, symbol, Proof.SEQUENCE, 30.0),
                Stream(Channel.LIQUIDATIONS, symbol, Proof.SEQUENCE, RARE_SECONDS),
                Stream(Channel.FUNDING, symbol, Proof.NONE, 30.0),
                Stream(Channel.OPEN_INTEREST, symbol, Proof.NONE, 30.0),
            )
        )

    def subscribe(self) -> tuple[bytes, ...]:
        """One request a feed, for all products."""
        products = list(self._venue_symbols.values())
        if not products:
            return ()
        beat = encode({"event": "subscribe", "feed": "heartbeat"})
        return (beat, *(_request("subscribe", feed, products) for feed in _FEEDS.values()))

    def _ask_again(self, venue_symbol: str) -> tuple[bytes, ...]:
        return _request("unsubscribe", "book", [venue_symbol]), _request("subscribe", "book", [venue_symbol])

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what Kraken documents.
        """
        try:
            message = _decode(frame)
        except UNREADABLE as error:
            return self._other(frame, error)
        if type(message) is _Heartbeat:
            return _HEARTBEAT
        try:
            market = self._markets[message.product_id]
        except KeyError:
            return [unlisted(message.product_id)]
        if type(message) is _Change:
            levels = [(raw_positive(message.price), raw_unsigned(message.qty))]
            bids, asks = (levels, []) if message.side == "buy" else ([], levels)
            seq = message.seq
            return [BookUpdate(market.symbol, False, bids, asks, message.timestamp, seq, seq, seq - 1)]
        if type(message) is _Trade:
            return _trade(message, market)
        if type(message) is _Trades:
            past = sorted(message.trades, key=lambda trade: trade.seq)
            return [event for trade in past for event in _trade(trade, market)]
        if type(message) is _Snapshot:
            bids, asks = _levels(message.bids), _levels(message.asks)
            seq = message.seq
            return [BookUpdate(market.symbol, True, bids, asks, message.timestamp, seq, seq)]
        return _ticker(message, market)

    def _other(self, frame: bytes, error: Exception) -> Sequence[Event]:
        try:
            message = _decode_other(frame)
        except UNREADABLE as worse:
            raise malformed(self.name, worse) from None
        about = f"{message.feed} {' '.join(message.product_ids[:5])}".strip()[:160]
        if message.event in ("subscribed", "unsubscribed"):
            return [Ack(True, f"{message.event} {about}")]
        if message.event in ("subscribed_failed", "unsubscribed_failed", "error", "alert"):
            return [Ack(False, f"{message.event} {about} {message.message[:200]}".strip())]
        if message.event:
            return [] if message.event == "info" else [Unknown(f"event {message.event[:40]}")]
        if message.feed in _OURS:
            raise malformed(self.name, error)
        return [Unknown(message.feed[:60] or "without event and feed")]

    def book_rule(self, symbol: str) -> BookRule:
        """`seq` grows by one with each message of a product's book."""
        return Chain()


def _trade(trade: _Trade | _Past, market: Market) -> list[Event]:
    price, native = raw_positive(trade.price), raw_positive(trade.qty)
    size = market.base(native, price)
    native = "" if market.unit else native
    seq = trade.seq
    forced = trade.type == "liquidation"
    done = Trade(market.symbol, price, size, trade.side, trade.time, trade.uid, seq, seq, native, forced)
    if not forced:
        return [done]
    # The liquidated position's own order took this price.
    side = "long" if trade.side == "sell" else "short"
    return [done, Liquidation(market.symbol, side, price, size, trade.time, "average", False, native)]


def _ticker(ticker: _Ticker, market: Market) -> list[Event]:
    events: list[Event] = []
    mark, rate = raw_optional(ticker.mark_price), raw_optional_signed(ticker.relative_funding_rate)
    if rate:
        due, index = ticker.next_funding_rate_time, raw_optional(ticker.index)
        next_ts = -1 if due is None else due
        events.append(Funding(market.symbol, ticker.time, rate, next_ts, _FUNDING_HOURS, mark, index))
    open_interest = raw_optional(ticker.open_interest)
    # Dollars need a mark to become coins, and a contract that was never traded has none.
    if open_interest and (not market.by_price or mark.strip("0.")):
        native = "" if market.unit else open_interest
        base = market.base(open_interest, mark)
        events.append(OpenInterest(market.symbol, ticker.time, base, native))
    return events


def _levels(levels: list[_Level]) -> list[Level]:
    return [(raw_positive(level.price), raw_unsigned(level.qty)) for level in levels]


def _request(event: str, feed: str, products: list[str]) -> bytes:
    return encode({"event": event, "feed": feed, "product_ids": products})
