"""Bybit, WebSocket v5: spot and linear.

Traps: a ticker's delta leaves out what did not change; `openInterest` counts both sides, `singleOpenInterest` one; the
side of a liquidation is the position's, and its price that of bankruptcy; ids of trades are no numbers (of derivatives
they are UUIDs, of spot nobody says that they are consecutive); a book whose `u` is 1 is a snapshot, whatever its type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import Id, Moment, Name, Text, check_levels, positive, signed, text_id, text_ms, unsigned
from coinswarm.ticks.markets import Markets
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Event,
    Funding,
    Heartbeat,
    Liquidation,
    MalformedFrame,
    OpenInterest,
    Trade,
    Unknown,
)
from coinswarm.ticks.protocol import BookRule, Ping, Proof, Stream
from coinswarm.ticks.venues._connection import (
    RARE_SECONDS,
    Chain,
    Connection,
    reading,
    unlisted,
)

SLUG = "bybit"
DEPTH = 50
MOST_ARGUMENTS = 10
"""Of one request; spot refuses more."""
_RECORDED_DEPTH = 1000
_LIQUIDATED = {"Buy": "long", "Sell": "short"}
"""`S` of a liquidation is the position."""
_SIDES = {"Buy": "buy", "Sell": "sell"}
"""`S` of a trade is what the taker did."""
_NOTHING = Raw(b"")
_NEVER = ("", "0")


class _Trade(Struct, gc=False):
    s: Name
    S: Literal["Buy", "Sell"]
    p: Text
    v: Text
    T: Moment
    i: Name


class _Trades(Struct):
    data: list[_Trade]


class _Levels(Struct):
    s: Name
    b: list[tuple[str, str]]
    a: list[tuple[str, str]]
    u: Id


class _Book(Struct):
    type: Literal["snapshot", "delta"]
    ts: Moment
    data: _Levels
    cts: Moment = 0


class _State(Struct):
    symbol: Name
    markPrice: str = ""
    indexPrice: str = ""
    fundingRate: str = ""
    nextFundingTime: str = ""
    fundingIntervalHour: str = ""
    singleOpenInterest: str = ""
    markPriceIv: str = ""


class _Ticker(Struct):
    type: Literal["snapshot", "delta"]
    ts: Moment
    data: _State


class _Liquidation(Struct, gc=False):
    s: Name
    S: Literal["Buy", "Sell"]
    p: Text
    v: Text
    T: Moment


class _Liquidations(Struct):
    data: list[_Liquidation]


class _Frame(Struct):
    """Answers to requests, and what has no way of its own."""

    topic: str = ""
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    type: str = ""
    data: Raw = _NOTHING


_decode_trades = Decoder(_Trades).decode
_decode_book = Decoder(_Book).decode
_decode_ticker = Decoder(_Ticker).decode
_decode_liquidations = Decoder(_Liquidations).decode
_decode_frame = Decoder(_Frame).decode
_HEARTBEAT = (Heartbeat(),)
# Nearly all frames begin so: the topic need not be looked for.
_TRADES = b'{"topic":"publicTrade.'
_BOOKS = b'{"topic":"orderbook.'


def connections(market: str, instruments: Sequence[Instrument] | None) -> tuple[BybitConnection, ...]:
    """The connection of `spot` or `linear`; instruments None takes any symbol and subscribes to nothing (replay).

    Raises:
        ValueError: there is no such market.
    """
    found = _MARKETS.get(market.removeprefix(f"{SLUG}_"))
    if found is None:
        raise ValueError(f"{SLUG} has no market {market[:40]!r}; it has {', '.join(_MARKETS)}")
    return (found(instruments),)


class BybitConnection(Connection):
    """What both share; either decodes all topics."""

    slug = SLUG
    market: ClassVar[str]
    topics: ClassVar[tuple[str, ...]] = ("publicTrade", f"orderbook.{DEPTH}")
    ping = Ping(b'{"op":"ping"}', 20.0)
    book_depth = DEPTH

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        mine = None
        if instruments is None:
            self.book_depth = _RECORDED_DEPTH
        else:
            mine = [i for i in instruments if i.source == SLUG and i.market == self.market]
        super().__init__(Markets.of(mine))
        self.streams = tuple(stream for symbol in self._venue_symbols for stream in self._streams(symbol))

    def _streams(self, symbol: str) -> tuple[Stream, ...]:
        return (
            Stream(Channel.TRADES, symbol, Proof.NONE, 120.0),
            Stream(Channel.BOOK, symbol, Proof.SEQUENCE, 60.0),
        )

    def subscribe(self) -> tuple[bytes, ...]:
        """All topics, ten a request."""
        topics = [f"{topic}.{name}" for name in self._venue_symbols.values() for topic in self.topics]
        starts = range(0, len(topics), MOST_ARGUMENTS)
        return tuple(_request("subscribe", topics[start : start + MOST_ARGUMENTS]) for start in starts)

    def _ask_again(self, venue_symbol: str) -> tuple[bytes, ...]:
        return tuple(_request(op, [f"orderbook.{DEPTH}.{venue_symbol}"]) for op in ("unsubscribe", "subscribe"))

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what Bybit documents.
        """
        if frame.startswith(_TRADES):
            return self._trades(frame)
        if frame.startswith(_BOOKS):
            return self._book(frame)
        message = reading(self.name, _decode_frame, frame)
        if not message.topic:
            return self._answer(message)
        if message.data is _NOTHING:
            raise MalformedFrame(f"{self.name}: {message.topic[:60]} without data")
        kind = message.topic.partition(".")[0]
        if kind == "tickers":
            return self._ticker(frame)
        if kind == "allLiquidation":
            return self._liquidations(frame)
        if kind == "publicTrade":
            return self._trades(frame)
        if kind == "orderbook":
            return self._book(frame)
        return [Unknown(kind[:60] or "without topic")]

    def _answer(self, message: _Frame) -> Sequence[Event]:
        if message.op in ("ping", "pong"):
            return _HEARTBEAT
        if message.success is not None:
            return [Ack(message.success, f"{message.op} {message.ret_msg[:180]}".strip())]
        return [Unknown((message.op or message.type)[:60] or "without topic and op")]

    def _trades(self, frame: bytes) -> Sequence[Event]:
        events: list[Event] = []
        for trade in reading(self.name, _decode_trades, frame).data:
            try:
                market = self._markets[trade.s]
            except KeyError:
                events.append(unlisted(trade.s))
                continue
            price, native = positive(trade.p), positive(trade.v)
            side = _SIDES[trade.S]
            if market.unit:
                events.append(Trade(market.symbol, price, native, side, trade.T, trade.i))
            else:
                size = market.base(native, price)
                events.append(Trade(market.symbol, price, size, side, trade.T, trade.i, native=native))
        return events

    def _book(self, frame: bytes) -> Sequence[Event]:
        message = reading(self.name, _decode_book, frame)
        levels = message.data
        try:
            symbol = self._markets[levels.s].symbol
        except KeyError:
            return [unlisted(levels.s)]
        check_levels(levels.b)
        check_levels(levels.a)
        number = levels.u
        # After a restart of its service the venue counts from 1.
        snapshot = message.type == "snapshot" or number == 1
        # `cts` is when the engine matched, `ts` when the message was made.
        ts = message.cts or message.ts
        return [BookUpdate(symbol, snapshot, levels.b, levels.a, ts, number, number, number - 1)]

    def _ticker(self, frame: bytes) -> Sequence[Event]:
        message = reading(self.name, _decode_ticker, frame)
        state, ts = message.data, message.ts
        if state.markPriceIv:
            return [Unknown("tickers of an option")]
        try:
            market = self._markets[state.symbol]
        except KeyError:
            return [unlisted(state.symbol)]
        events: list[Event] = []
        mark, index = _unsigned(state.markPrice), _unsigned(state.indexPrice)
        # A dated future has no funding: its rate is empty.
        rate = signed(state.fundingRate) if state.fundingRate else ""
        due = -1 if state.nextFundingTime in _NEVER else text_ms(state.nextFundingTime)
        hours = -1 if state.fundingIntervalHour in _NEVER else text_id(state.fundingIntervalHour)
        if mark or index or rate or due >= 0 or hours >= 0:
            events.append(Funding(market.symbol, ts, rate, due, hours, mark, index))
        if state.singleOpenInterest:
            native = unsigned(state.singleOpenInterest)
            base = native if market.unit else market.base(native, mark)
            events.append(OpenInterest(market.symbol, ts, base, "" if market.unit else native))
        return events

    def _liquidations(self, frame: bytes) -> Sequence[Event]:
        events: list[Event] = []
        for order in reading(self.name, _decode_liquidations, frame).data:
            try:
                market = self._markets[order.s]
            except KeyError:
                events.append(unlisted(order.s))
                continue
            price, native = positive(order.p), positive(order.v)
            size, native = market.base(native, price), "" if market.unit else native
            side = _LIQUIDATED[order.S]
            events.append(Liquidation(market.symbol, side, price, size, order.T, "bankruptcy", False, native))
        return events

    def book_rule(self, symbol: str) -> BookRule:
        """`u` goes up by one a message."""
        return Chain()


class BybitSpot(BybitConnection):
    """`/v5/public/spot`: trades and books."""

    name = "bybit_spot"
    url = "wss://stream.bybit.com/v5/public/spot"
    market = "spot"


class BybitLinear(BybitConnection):
    """`/v5/public/linear`: perpetuals that are counted in base units, with their state and all liquidations."""

    name = "bybit_linear"
    url = "wss://stream.bybit.com/v5/public/linear"
    market = "linear"
    topics = (*BybitConnection.topics, "tickers", "allLiquidation")

    def _streams(self, symbol: str) -> tuple[Stream, ...]:
        return (
            *super()._streams(symbol),
            Stream(Channel.FUNDING, symbol, Proof.NONE, 60.0),
            Stream(Channel.OPEN_INTEREST, symbol, Proof.NONE, 120.0),
            Stream(Channel.LIQUIDATIONS, symbol, Proof.NONE, RARE_SECONDS),
        )


_MARKETS: dict[str, type[BybitConnection]] = {"spot": BybitSpot, "linear": BybitLinear}


def _unsigned(text: str) -> str:
    return unsigned(text) if text else ""


def _request(op: str, topics: list[str]) -> bytes:
    return encode({"op": op, "args": topics})
