"""Deribit, JSON-RPC over WebSocket.

Traps: sizes of inverse perpetuals are dollars, sizes of options are coins; implied volatilities are percent in tickers
and fractions in `markprice.options`; channels that do not exist are left out of the answer without an error; a
`test_request` has to be answered or the connection is cut; `.raw` channels want a login.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from msgspec import Raw, Struct
from msgspec.json import Decoder, encode

from coinswarm.registry import Instrument, InstrumentKind
from coinswarm.registry.instruments import canonical_symbol
from coinswarm.ticks.exact import (
    Id,
    IdOrNone,
    Moment,
    Name,
    product,
    raw_optional,
    raw_optional_signed,
    raw_positive,
    raw_unsigned,
)
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
    MalformedFrame,
    OpenInterest,
    OptionTick,
    Reply,
    Trade,
    Unknown,
    VolatilityIndex,
)
from coinswarm.ticks.protocol import BookRule, Proof, Stream
from coinswarm.ticks.venues._connection import (
    RARE_SECONDS,
    UNREADABLE,
    Chain,
    Connection,
    malformed,
    reading,
    unlisted,
)

SLUG = "deribit"
HEARTBEAT_SECONDS = 30
_HEARTBEAT_ID, _TEST_ID, _SUBSCRIBE_ID, _RESUBSCRIBE_ID = 1, 2, 3, 4
# `funding_8h` is what the last eight hours cost.
_FUNDING_HOURS = 8
_PERCENT = Decimal(100)
_ONE_DOLLAR = Decimal(1)
_NOTHING = Raw(b"")
_OPTION = re.compile(r"([A-Z][A-Z0-9]{1,9})-(\d{1,2})([A-Z]{3})(\d{2})-(\d{1,12})-([CP])", re.ASCII)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


class _Params(Struct):
    channel: str = ""
    data: Raw = _NOTHING
    type: str = ""


class _Error(Struct):
    code: int = 0
    message: str = ""


class _Frame(Struct):
    method: str = ""
    params: _Params | None = None
    id: int | str | None = None
    result: Raw = _NOTHING
    error: _Error | None = None


class _Trade(Struct, gc=False):
    instrument_name: Name
    trade_seq: Id
    trade_id: Name
    timestamp: Moment
    price: Raw
    amount: Raw
    direction: Literal["buy", "sell"]
    liquidation: Literal["M", "T", "MT"] | None = None


class _TradesParams(Struct):
    data: list[_Trade]


class _Trades(Struct):
    params: _TradesParams


class _Change(Struct, array_like=True, gc=False):
    action: Literal["new", "change", "delete"]
    price: Raw
    amount: Raw


class _Changes(Struct):
    type: Literal["snapshot", "change"]
    instrument_name: Name
    timestamp: Moment
    change_id: Id
    bids: list[_Change]
    asks: list[_Change]
    prev_change_id: IdOrNone = -1


class _Level(Struct, array_like=True, gc=False):
    price: Raw
    amount: Raw


class _Grouped(Struct):
    instrument_name: Name
    timestamp: Moment
    change_id: Id
    bids: list[_Level]
    asks: list[_Level]


class _Greeks(Struct):
    delta: Raw = _NOTHING


class _Ticker(Struct):
    instrument_name: Name
    timestamp: Moment
    mark_price: Raw
    open_interest: Raw = _NOTHING
    index_price: Raw = _NOTHING
    funding_8h: Raw = _NOTHING
    mark_iv: Raw = _NOTHING
    bid_iv: Raw = _NOTHING
    ask_iv: Raw = _NOTHING
    underlying_price: Raw = _NOTHING
    greeks: _Greeks | None = None


class _Mark(Struct, gc=False):
    instrument_name: Name
    timestamp: Moment
    mark_price: Raw
    iv: Raw


class _Index(Struct):
    index_name: Name
    timestamp: Moment
    volatility: Raw


_decode = Decoder(_Frame).decode
_decode_all_trades = Decoder(_Trades).decode
_decode_trades = Decoder(list[_Trade]).decode
_decode_changes = Decoder(_Changes).decode
_decode_grouped = Decoder(_Grouped).decode
_decode_ticker = Decoder(_Ticker).decode
_decode_marks = Decoder(list[_Mark]).decode
_decode_index = Decoder(_Index).decode
_decode_names = Decoder(list[str]).decode
_HEARTBEAT = (Heartbeat(),)
# Read in one go, where other frames are read twice, once to learn what they are.
_TRADES = b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.'


def connections(market: str, instruments: Sequence[Instrument] | None) -> tuple[Deribit, ...]:
    """The one connection; instruments None takes any symbol and subscribes to nothing (replay)."""
    return (Deribit(instruments),)


class Deribit(Connection):
    """`wss://www.deribit.com/ws/api/v2`: trades, books and state of perpetuals, volatilities of all options."""

    slug = SLUG
    name = "deribit"
    url = "wss://www.deribit.com/ws/api/v2"

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        # What Deribit calls an amount is dollars, not contracts of ten of them.
        mine = None if instruments is None else [_in_dollars(i) for i in instruments if i.source == SLUG]
        super().__init__(Markets.of(mine))
        assets = list(dict.fromkeys(market.asset for market in self._markets.values()))
        symbols = list(self._venue_symbols)
        self.streams = (
            *(Stream(Channel.TRADES, symbol, Proof.SEQUENCE, 120.0) for symbol in symbols),
            *(Stream(Channel.BOOK, symbol, Proof.SEQUENCE, 30.0) for symbol in symbols),
            *(Stream(Channel.LIQUIDATIONS, symbol, Proof.SEQUENCE, RARE_SECONDS) for symbol in symbols),
            *(Stream(Channel.FUNDING, symbol, Proof.NONE, 30.0) for symbol in symbols),
            *(Stream(Channel.OPEN_INTEREST, symbol, Proof.NONE, 30.0) for symbol in symbols),
            *(Stream(Channel.VOLATILITY, asset, Proof.NONE, 30.0) for asset in assets),
        )
        self._channels = tuple(
            channel
            for name in self._venue_symbols.values()
            for channel in (f"trades.{name}.100ms", _book_channel(name), f"ticker.{name}.agg2")
        ) + tuple(
            channel
            for asset in assets
            for channel in (f"markprice.options.{asset.lower()}_usd", f"deribit_volatility_index.{asset.lower()}_usd")
        )

    def subscribe(self) -> tuple[bytes, ...]:
        """Heartbeats, then all channels in one request."""
        if not self._channels:
            return ()
        return (
            _request(_HEARTBEAT_ID, "public/set_heartbeat", interval=HEARTBEAT_SECONDS),
            _request(_SUBSCRIBE_ID, "public/subscribe", channels=self._channels),
        )

    def _ask_again(self, venue_symbol: str) -> tuple[bytes, ...]:
        channels = [_book_channel(venue_symbol)]
        return (
            _request(_RESUBSCRIBE_ID, "public/unsubscribe", channels=channels),
            _request(_RESUBSCRIBE_ID, "public/subscribe", channels=channels),
        )

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what Deribit documents.
        """
        if frame.startswith(_TRADES):
            return self._trades(reading(self.name, _decode_all_trades, frame).params.data)
        try:
            message = _decode(frame)
        except UNREADABLE as error:
            raise malformed(self.name, error) from None
        params = message.params
        if message.method != "subscription" or params is None:
            return self._answer(message)
        channel, content = params.channel, params.data
        kind, _, rest = channel.partition(".")
        if kind == "trades":
            return self._trades(reading(self.name, _decode_trades, content))
        if kind == "book":
            # `book.<name>.<interval>` tells changes, `book.<name>.<group>.<depth>.<interval>` all of its levels.
            if rest.count(".") > 1:
                return [self._grouped(reading(self.name, _decode_grouped, content))]
            return [self._changes(reading(self.name, _decode_changes, content))]
        if kind == "ticker":
            return self._ticker(reading(self.name, _decode_ticker, content))
        if kind == "markprice":
            return self._marks(reading(self.name, _decode_marks, content))
        if kind == "deribit_volatility_index":
            index = reading(self.name, _decode_index, content)
            asset = index.index_name.partition("_")[0].upper()
            return [VolatilityIndex(asset, index.timestamp, raw_positive(index.volatility))]
        return [Unknown(kind[:60] or "without channel")]

    def _answer(self, message: _Frame) -> Sequence[Event]:
        params = message.params
        if message.method == "heartbeat" and params is not None:
            if params.type == "test_request":
                return [Heartbeat(), Reply(_request(_TEST_ID, "public/test"))]
            return _HEARTBEAT
        if message.error is not None:
            return [Ack(False, f"{message.error.code} {message.error.message[:180]}")]
        if message.method:
            return [Unknown(message.method[:60])]
        result = bytes(message.result)
        if not result or message.id is None:
            return [Unknown("without method and id")]
        if message.id == _TEST_ID:
            return _HEARTBEAT
        if result[:1] != b"[":
            return [Ack(True, result[:60].decode("ascii", "replace"))]
        if message.id == _SUBSCRIBE_ID and self._channels:
            missing = set(self._channels).difference(reading(self.name, _decode_names, result))
            if missing:
                return [Ack(False, f"no channel {' '.join(sorted(missing))}"[:200])]
        return [Ack(True, "channels")]

    def _trades(self, trades: list[_Trade]) -> list[Event]:
        events: list[Event] = []
        for trade in trades:
            market = self._market(trade.instrument_name)
            if market is None:
                events.append(unlisted(trade.instrument_name))
                continue
            price, amount = raw_positive(trade.price), raw_positive(trade.amount)
            symbol, size, native = market.symbol, market.base(amount, price), "" if market.unit else amount
            side, ts, seq = trade.direction, trade.timestamp, trade.trade_seq
            forced = trade.liquidation is not None
            events.append(Trade(symbol, price, size, side, ts, trade.trade_id, seq, seq, native, forced))
            # M, T or both: whether maker or taker was liquidated. Who is forced to sell had been long.
            taker, maker = ("long", "short") if side == "sell" else ("short", "long")
            for who, position in (("T", taker), ("M", maker)):
                if trade.liquidation and who in trade.liquidation:
                    events.append(Liquidation(symbol, position, price, size, ts, "average", False, native))
        return events

    def _changes(self, book: _Changes) -> Event:
        market = self._market(book.instrument_name)
        if market is None:
            return unlisted(book.instrument_name)
        snapshot = book.type == "snapshot"
        if not snapshot and book.prev_change_id < 0:
            raise MalformedFrame(f"{self.name}: change {book.change_id} without prev_change_id")
        previous = -1 if snapshot else book.prev_change_id
        bids, asks, last = _changed(book.bids), _changed(book.asks), book.change_id
        return BookUpdate(market.symbol, snapshot, bids, asks, book.timestamp, last, last, previous)

    def _grouped(self, book: _Grouped) -> Event:
        market = self._market(book.instrument_name)
        if market is None:
            return unlisted(book.instrument_name)
        bids, asks = (
            [(raw_positive(level.price), raw_unsigned(level.amount)) for level in side]
            for side in (book.bids, book.asks)
        )
        return BookUpdate(market.symbol, True, bids, asks, book.timestamp, book.change_id, book.change_id)

    def _ticker(self, ticker: _Ticker) -> list[Event]:
        name, ts = ticker.instrument_name, ticker.timestamp
        mark, open_interest = raw_optional(ticker.mark_price), raw_optional(ticker.open_interest)
        market = self._market(name)
        if market is None:
            return [unlisted(name)]
        if market is _option(name):
            return [
                OptionTick(
                    market.symbol,
                    market.asset,
                    ts,
                    raw_optional(ticker.mark_iv),
                    raw_optional(ticker.bid_iv),
                    raw_optional(ticker.ask_iv),
                    raw_optional_signed(ticker.greeks.delta) if ticker.greeks else "",
                    mark,
                    raw_optional(ticker.underlying_price),
                    open_interest,
                )
            ]
        events: list[Event] = []
        rate = raw_optional_signed(ticker.funding_8h)
        if rate:
            index = raw_optional(ticker.index_price)
            events.append(Funding(market.symbol, ts, rate, -1, _FUNDING_HOURS, mark, index))
        if open_interest and (not market.by_price or mark.strip("0.")):
            native = "" if market.unit else open_interest
            events.append(OpenInterest(market.symbol, ts, market.base(open_interest, mark), native))
        return events

    def _marks(self, marks: list[_Mark]) -> list[Event]:
        events: list[Event] = []
        for mark in marks:
            option = _option(mark.instrument_name)
            if option is None:
                events.append(unlisted(mark.instrument_name))
                continue
            fraction = raw_optional(mark.iv)
            if fraction:
                iv, price = product(fraction, _PERCENT), raw_optional(mark.mark_price)
                events.append(OptionTick(option.symbol, option.asset, mark.timestamp, iv, mark=price))
        return events

    def _market(self, name: str) -> Market | None:
        """By the list, or, as options come and go every day, by the rule of their names."""
        option = _option(name)
        if option is not None:
            return option
        try:
            return self._markets[name]
        except KeyError:
            return None

    def book_rule(self, symbol: str) -> BookRule:
        """`prev_change_id` names the change before."""
        return Chain()


@lru_cache(maxsize=8192)
def _option(name: str) -> Market | None:
    """An option in coins by its name, None if it is another thing."""
    found = _OPTION.fullmatch(name)
    if not found:
        return None
    base, day, month, year, strike, side = found.groups()
    try:
        symbol = canonical_symbol(
            base,
            "USD",
            InstrumentKind.OPTION,
            expires_at=datetime(2000 + int(year), _MONTHS.index(month) + 1, int(day), tzinfo=UTC),
            strike=Decimal(strike),
            option_type="call" if side == "C" else "put",
        )
    except ValueError:
        return None
    market = Market(None, symbol)
    market.asset = base
    return market


def _in_dollars(instrument: Instrument) -> Instrument:
    return replace(instrument, contract_size=_ONE_DOLLAR) if instrument.inverse else instrument


def _changed(changes: list[_Change]) -> list[Level]:
    return [
        (raw_positive(change.price), "0" if change.action == "delete" else raw_unsigned(change.amount))
        for change in changes
    ]


def _book_channel(name: str) -> str:
    return f"book.{name}.100ms"


def _request(number: int, method: str, **params: object) -> bytes:
    return encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
