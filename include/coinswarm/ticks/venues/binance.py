"""Binance: spot, USD-M and COIN-M futures, combined streams.

Traps: USD-M has a path for books and one for the rest, and the wrong one answers a subscription and stays silent; what
a frame is stands in the stream's name (partial and diff depth look the same inside); spot `bookTicker` has no time;
books begin with a REST snapshot; liquidations are the last of each second; on futures trades of the insurance fund are
in the count of `f` and `l`, but in no aggregate, so the proof is `a`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

from msgspec import UNSET, Raw, Struct, UnsetType
from msgspec.json import Decoder, encode

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import Id, IdOrNone, Moment, Name, Text, check_levels, positive, signed, unsigned
from coinswarm.ticks.markets import Markets
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Event,
    Funding,
    Goodbye,
    Liquidation,
    MalformedFrame,
    TopOfBook,
    Trade,
    Unknown,
)
from coinswarm.ticks.protocol import BookRule, Proof, Step, Stream
from coinswarm.ticks.venues._connection import RARE_SECONDS, UNREADABLE, Connection, malformed, reading, unlisted

SLUG = "binance"
DAY_SECONDS = 24 * 3600.0
SNAPSHOT_LEVELS = 1000
_TAKER = {True: "sell", False: "buy"}
"""What the taker did, by `m`: whether the buyer was the maker."""
_LIQUIDATED = {"SELL": "long", "BUY": "short"}
"""`S` of a forced order is what the order did."""
# Of all names that we subscribe to the longest ends here, and the shortest has its first changing character behind it.
_HEAD = 36
_REMEMBERED = 4096
_NOTHING = Raw(b"")


class _Trade(Struct, rename={"number": "t"}, gc=False):
    s: Name
    number: Id
    p: Text
    q: Text
    T: Moment
    m: bool


class _Aggregate(Struct, rename={"number": "a"}, gc=False):
    s: Name
    number: Id
    p: Text
    q: Text
    T: Moment
    m: bool


class _Trades(Struct, gc=False):
    data: _Trade


class _Aggregates(Struct, gc=False):
    data: _Aggregate


class _Depth(Struct):
    s: Name
    E: Moment
    U: Id
    u: Id
    b: list[tuple[Text, Text]]
    a: list[tuple[Text, Text]]
    pu: IdOrNone = -1
    T: Moment = 0


class _Depths(Struct):
    data: _Depth


class _Ticker(Struct, gc=False):
    s: Name
    u: Id
    b: Text
    B: Text
    a: Text
    A: Text
    T: Moment = 0


class _Tickers(Struct):
    data: _Ticker


class _Mark(Struct, gc=False):
    s: Name
    E: Moment
    p: Text
    r: str = ""
    T: Moment = 0
    i: str = ""


class _Marks(Struct):
    data: _Mark | list[_Mark]


class _Order(Struct, gc=False):
    s: Name
    S: Literal["BUY", "SELL"]
    q: Text
    p: Text
    T: Moment
    ap: str = ""
    z: str = ""


class _Forced(Struct):
    o: _Order


class _Liquidations(Struct):
    data: _Forced | list[_Forced]


class _Snapshot(Struct):
    lastUpdateId: Id
    bids: list[tuple[Text, Text]]
    asks: list[tuple[Text, Text]]
    E: Moment = 0
    T: Moment = 0


class _Named(Struct):
    e: str = ""


class _Error(Struct):
    code: int = 0
    msg: str = ""


class _Frame(Struct):
    """Answers to requests, and what has no way of its own."""

    stream: str = ""
    data: Raw = _NOTHING
    event: Raw = _NOTHING
    e: str = ""
    result: Raw = _NOTHING
    error: _Error | None = None
    code: int | None = None
    msg: str = ""
    lastUpdateId: int | UnsetType = UNSET


_decode_trade = Decoder(_Trades).decode
_decode_aggregate = Decoder(_Aggregates).decode
_decode_depth = Decoder(_Depths).decode
_decode_ticker = Decoder(_Tickers).decode
_decode_mark = Decoder(_Marks).decode
_decode_liquidation = Decoder(_Liquidations).decode
_decode_snapshot = Decoder(_Snapshot).decode
_decode_named = Decoder(_Named).decode
_decode_frame = Decoder(_Frame).decode


def connections(market: str, instruments: Sequence[Instrument] | None) -> tuple[BinanceConnection, ...]:
    """The connections of `spot`, `usdm` or `coinm`; instruments None takes any symbol, subscribing to nothing (replay).

    Raises:
        ValueError: there is no such market.
    """
    found = _MARKETS.get(market.removeprefix(f"{SLUG}_"))
    if found is None:
        raise ValueError(f"{SLUG} has no market {market[:40]!r}; it has {', '.join(_MARKETS)}")
    return tuple(connection(instruments) for connection in found)


class BinanceConnection(Connection, ABC):
    """What all of them share; each decodes every kind of message."""

    slug = SLUG
    lifetime_seconds = DAY_SECONDS
    market: ClassVar[str]
    rest: ClassVar[str]
    """Address of the book's snapshot."""
    topics: ClassVar[tuple[str, ...]]

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        mine = None
        if instruments is not None:
            mine = [i for i in instruments if i.source == SLUG and i.market == self.market]
        super().__init__(Markets.of(mine))
        self.streams = tuple(stream for symbol in self._venue_symbols for stream in self._streams(symbol))
        self._positive = _Positives()
        self._handlers: dict[str, Callable[[bytes], Sequence[Event]]] = {
            "trade": self._trades(_decode_trade),
            "aggTrade": self._trades(_decode_aggregate),
            "depth": self._depth,
            "bookTicker": self._ticker,
            "markPrice": self._mark,
            "forceOrder": self._liquidation,
        }
        self._routes: dict[bytes, Callable[[bytes], Sequence[Event]]] = {}

    @abstractmethod
    def _streams(self, symbol: str) -> Sequence[Stream]:
        """What the topics bring of an instrument."""

    def subscribe(self) -> tuple[bytes, ...]:
        """One request for everything."""
        names = [f"{name.lower()}@{topic}" for name in self._venue_symbols.values() for topic in self.topics]
        return (encode({"method": "SUBSCRIBE", "params": names, "id": 1}),) if names else ()

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what Binance documents.
        """
        # The head holds the whole name of the stream, and is the same in each of its frames.
        route = self._routes.get(frame[:_HEAD])
        if route is not None:
            return route(frame)
        return self._other(frame)

    def _trades(self, decode: Callable[[bytes], _Trades | _Aggregates]) -> Callable[[bytes], Sequence[Event]]:
        # A closure, as most frames come through here: it looks nothing up.
        name, markets, positive = self.name, self._markets, self._positive

        def read(frame: bytes) -> Sequence[Event]:
            try:
                trade = decode(frame).data
            except UNREADABLE as error:
                raise malformed(name, error) from None
            try:
                market = markets[trade.s]
            except KeyError:
                return (unlisted(trade.s),)
            number = trade.number
            price, native, side = positive[trade.p], positive[trade.q], _TAKER[trade.m]
            if market.unit:
                return (Trade(market.symbol, price, native, side, trade.T, str(number), number, number),)
            size = market.base(native, price)
            return (Trade(market.symbol, price, size, side, trade.T, str(number), number, number, native),)

        return read

    def _depth(self, frame: bytes) -> Sequence[Event]:
        depth = reading(self.name, _decode_depth, frame).data
        try:
            symbol = self._markets[depth.s].symbol
        except KeyError:
            return (unlisted(depth.s),)
        first, last = depth.U, depth.u
        if last < first:
            raise MalformedFrame(f"{self.name}: depth from {first} to {last}")
        check_levels(depth.b)
        check_levels(depth.a)
        # On futures `T` is the time of the match, `E` that of the message.
        ts = depth.T or depth.E
        return (BookUpdate(symbol, False, depth.b, depth.a, ts, first, last, depth.pu),)

    def _ticker(self, frame: bytes) -> Sequence[Event]:
        top = reading(self.name, _decode_ticker, frame).data
        try:
            symbol = self._markets[top.s].symbol
        except KeyError:
            return (unlisted(top.s),)
        bid, ask = unsigned(top.b), unsigned(top.a)
        bid_size, ask_size = unsigned(top.B), unsigned(top.A)
        if not bid.strip("0.") or not ask.strip("0."):
            return (Unknown("bookTicker of one side"),)
        return (TopOfBook(symbol, bid, bid_size, ask, ask_size, top.T, top.u),)

    def _mark(self, frame: bytes) -> Sequence[Event]:
        data = reading(self.name, _decode_mark, frame).data
        events: list[Event] = []
        for mark in data if isinstance(data, list) else (data,):
            try:
                symbol = self._markets[mark.s].symbol
            except KeyError:
                events.append(unlisted(mark.s))
                continue
            # A dated future has no funding: its rate is empty, its next time 0.
            rate, index = signed(mark.r) if mark.r else "", unsigned(mark.i) if mark.i else ""
            events.append(Funding(symbol, mark.E, rate, mark.T or -1, -1, unsigned(mark.p), index))
        return events

    def _liquidation(self, frame: bytes) -> Sequence[Event]:
        data = reading(self.name, _decode_liquidation, frame).data
        events: list[Event] = []
        for forced in data if isinstance(data, list) else (data,):
            order = forced.o
            try:
                market = self._markets[order.s]
            except KeyError:
                events.append(unlisted(order.s))
                continue
            average, filled = unsigned(order.ap or "0"), unsigned(order.z or "0")
            if average.strip("0.") and filled.strip("0."):
                price, native, kind = average, filled, "average"
            else:
                price, native, kind = positive(order.p), positive(order.q), "order"
            size, native = market.base(native, price), "" if market.unit else native
            side = _LIQUIDATED[order.S]
            events.append(Liquidation(market.symbol, side, price, size, order.T, kind, True, native))
        return events

    def _other(self, frame: bytes) -> Sequence[Event]:
        message = reading(self.name, _decode_frame, frame)
        if message.stream and message.data is not _NOTHING:
            return self._first_of_its_name(message.stream, message.data, frame)
        named = message.e or self._named(message.event) or self._named(message.data)
        if named == "serverShutdown":
            return (Goodbye(named),)
        if message.error is not None or message.code is not None:
            code, text = (message.error.code, message.error.msg) if message.error else (message.code, message.msg)
            return (Ack(False, f"{code} {text[:180]}".strip()),)
        if message.result is not _NOTHING:
            return (Ack(True, bytes(message.result)[:60].decode("ascii", "replace")),)
        if message.lastUpdateId is not UNSET:
            return (Unknown("depth snapshot"),)
        if message.stream:
            raise MalformedFrame(f"{self.name}: {message.stream[:60]} without data")
        return (Unknown(named[:60] or "without stream"),)

    def _first_of_its_name(self, name: str, data: Raw, frame: bytes) -> Sequence[Event]:
        # `<symbol>@<kind>`, `<symbol>@<kind>@<speed>`, `!<kind>`, `!<kind>@arr`.
        kind = name[1:].partition("@")[0] if name[0] == "!" else name.partition("@")[2]
        kind = "depth" if kind.startswith("depth@") else kind.removesuffix("@1s")
        handler = self._handlers.get(kind)
        if handler is None:
            if self._named(data) == "serverShutdown":
                return (Goodbye("serverShutdown"),)
            return (Unknown(kind[:60] or name[:60]),)
        head = b'{"stream":%b' % encode(name)
        if len(head) <= _HEAD and frame.startswith(head) and len(self._routes) < _REMEMBERED:
            self._routes[frame[:_HEAD]] = handler
        return handler(frame)

    def _named(self, data: Raw) -> str:
        return reading(self.name, _decode_named, data).e if bytes(data)[:1] == b"{" else ""

    def snapshot_url(self, symbol: str) -> str:
        """REST address of the book."""
        name = self._venue_symbols.get(symbol, "")
        return f"{self.rest}?symbol={name}&limit={SNAPSHOT_LEVELS}" if name and self._has_books() else ""

    def decode_snapshot(self, symbol: str, body: bytes) -> BookUpdate:
        """The book in a REST body.

        Raises:
            MalformedFrame: not what Binance documents.
        """
        book = reading(self.name, _decode_snapshot, body)
        check_levels(book.bids)
        check_levels(book.asks)
        last = book.lastUpdateId
        return BookUpdate(symbol, True, book.bids, book.asks, book.T or book.E, last, last)

    def _has_books(self) -> bool:
        return any(topic.startswith("depth") for topic in self.topics)

    def book_rule(self, symbol: str) -> BookRule:
        """Futures: `pu` names the update before."""
        return FuturesChain()


class BinanceSpot(BinanceConnection):
    """`/stream` of spot: each trade, books, best prices."""

    name = "binance_spot"
    url = "wss://stream.binance.com:9443/stream"
    market = "spot"
    rest = "https://api.binance.com/api/v3/depth"
    topics = ("trade", "depth@100ms", "bookTicker")

    def _streams(self, symbol: str) -> Sequence[Stream]:
        return (
            Stream(Channel.TRADES, symbol, Proof.SEQUENCE, 60.0),
            Stream(Channel.BOOK, symbol, Proof.SEQUENCE, 15.0),
        )

    def book_rule(self, symbol: str) -> BookRule:
        """Numbers without holes."""
        return SpotChain()


class BinanceUsdmPublic(BinanceConnection):
    """`/public` of USD-M: books and best prices."""

    name = "binance_usdm_public"
    url = "wss://fstream.binance.com/public/stream"
    market = "usdm"
    rest = "https://fapi.binance.com/fapi/v1/depth"
    topics = ("depth@100ms", "bookTicker")

    def _streams(self, symbol: str) -> Sequence[Stream]:
        return (Stream(Channel.BOOK, symbol, Proof.SEQUENCE, 15.0),)


class BinanceUsdmMarket(BinanceConnection):
    """`/market` of USD-M: aggregate trades, mark price with funding, liquidations."""

    name = "binance_usdm_market"
    url = "wss://fstream.binance.com/market/stream"
    market = "usdm"
    rest = BinanceUsdmPublic.rest
    topics = ("aggTrade", "markPrice@1s", "forceOrder")

    def _streams(self, symbol: str) -> Sequence[Stream]:
        return (
            Stream(Channel.TRADES, symbol, Proof.SEQUENCE, 60.0),
            Stream(Channel.FUNDING, symbol, Proof.NONE, 10.0),
            Stream(Channel.LIQUIDATIONS, symbol, Proof.NONE, RARE_SECONDS),
        )


class BinanceCoinm(BinanceConnection):
    """`dstream`, contracts in dollars: no shard of ours, but there are recordings."""

    name = "binance_coinm"
    url = "wss://dstream.binance.com/stream"
    market = "coinm"
    rest = "https://dapi.binance.com/dapi/v1/depth"
    topics = ("aggTrade", "depth@100ms", "bookTicker", "markPrice@1s", "forceOrder")

    def _streams(self, symbol: str) -> Sequence[Stream]:
        return (
            Stream(Channel.TRADES, symbol, Proof.SEQUENCE, 60.0),
            Stream(Channel.BOOK, symbol, Proof.SEQUENCE, 15.0),
            Stream(Channel.FUNDING, symbol, Proof.NONE, 10.0),
            Stream(Channel.LIQUIDATIONS, symbol, Proof.NONE, RARE_SECONDS),
        )


_MARKETS: dict[str, tuple[type[BinanceConnection], ...]] = {
    "spot": (BinanceSpot,),
    "usdm": (BinanceUsdmPublic, BinanceUsdmMarket),
    "coinm": (BinanceCoinm,),
}


class SpotChain:
    """Update numbers of a spot book: `U` is at most one above the last `u`, or the snapshot's number."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def check(self, update: BookUpdate) -> Step:
        """Apply what follows, drop what is older, and break on everything else."""
        last = self._last
        if update.snapshot:
            self._last = update.last
            return Step.APPLY
        if last is None or update.last <= last:
            return Step.DROP
        if update.first <= last + 1:
            self._last = update.last
            return Step.APPLY
        self._last = None
        return Step.RESYNC


class FuturesChain:
    """Update numbers of a futures book: `pu` is the last `u`; the first after a snapshot may reach back behind it."""

    __slots__ = ("_first", "_last")

    def __init__(self) -> None:
        self._last: int | None = None
        self._first = False

    def check(self, update: BookUpdate) -> Step:
        """Apply what follows, drop what is older, and break on everything else."""
        last = self._last
        if update.snapshot:
            self._last, self._first = update.last, True
            return Step.APPLY
        if last is None or update.last < last or (update.last == last and not self._first):
            return Step.DROP
        if update.previous == last or (self._first and (update.first <= last or update.previous <= last)):
            self._last, self._first = update.last, False
            return Step.APPLY
        self._last = None
        return Step.RESYNC


class _Positives(dict[str, str]):
    """Texts that were found to be positive numbers: three of four prices and sizes came before."""

    def __missing__(self, text: str) -> str:
        number = positive(text)
        if len(self) >= _REMEMBERED:
            self.clear()
        self[text] = number
        return number
