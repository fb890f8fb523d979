"""Bybit, WebSocket v2: orderBookL2_25 and trade. Retired; only for replaying recordings.

Traps: levels have ids, but their prices say the same; those of a delete have no size; inverse contracts write JSON
numbers where linear ones write text, and the other way round; a linear snapshot has its levels one step further down.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Raw, Struct
from msgspec.json import Decoder

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import Name, positive, text_id, text_ms, unsigned
from coinswarm.ticks.markets import Markets
from coinswarm.ticks.model import Ack, BookUpdate, Event, Heartbeat, Level, MalformedFrame, Trade, Unknown
from coinswarm.ticks.protocol import BookRule
from coinswarm.ticks.venues._connection import Connection, SnapshotFirst, reading, unlisted
from coinswarm.ticks.venues.bybit import SLUG

_MARKETS = ("linear", "inverse")
_NOTHING = Raw(b"")
_HEARTBEAT = (Heartbeat(),)


class _Level(Struct, gc=False):
    side: Literal["Buy", "Sell"]
    price: Raw
    size: Raw = _NOTHING


class _OneDown(Struct):
    order_book: list[_Level]


class _Changes(Struct):
    delete: list[_Level] = []
    update: list[_Level] = []
    insert: list[_Level] = []


class _Trade(Struct, gc=False):
    symbol: Name
    side: Literal["Buy", "Sell"]
    price: Raw
    size: Raw
    trade_time_ms: Raw
    trade_id: Name


class _Request(Struct):
    op: str = ""
    args: list[str] | None = None


class _Frame(Struct):
    topic: str = ""
    type: str = ""
    data: Raw = _NOTHING
    cross_seq: Raw = _NOTHING
    timestamp_e6: Raw = _NOTHING
    success: bool | None = None
    ret_msg: str = ""
    request: _Request | None = None


_decode = Decoder(_Frame).decode
_decode_levels = Decoder(list[_Level]).decode
_decode_one_down = Decoder(_OneDown).decode
_decode_changes = Decoder(_Changes).decode
_decode_trades = Decoder(list[_Trade]).decode


def connections(market: str, instruments: Sequence[Instrument] | None = None) -> tuple[LegacyBybit, ...]:
    """The one connection; it subscribes to nothing."""
    return (LegacyBybit(instruments),)


class LegacyBybit(Connection):
    """Frames of `wss://stream.bybit.com/realtime` and `/realtime_public`, with books of 25 levels."""

    slug = SLUG
    name = "legacy_bybit"
    url = "wss://stream.bybit.com/realtime_public"

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        mine = None if instruments is None else [i for i in instruments if i.source == SLUG and i.market in _MARKETS]
        super().__init__(Markets.of(mine))

    def subscribe(self) -> tuple[bytes, ...]:
        """Nothing: the protocol is only replayed."""
        return ()

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what Bybit documented.
        """
        message = reading(self.name, _decode, frame)
        if not message.topic:
            return _answer(message)
        kind = message.topic.partition(".")[0]
        if kind not in ("trade", "orderBookL2_25"):
            return [Unknown(kind[:60] or "without topic")]
        if message.data is _NOTHING:
            raise MalformedFrame(f"{self.name}: {message.topic[:60]} without data")
        return self._trades(message.data) if kind == "trade" else self._book(message)

    def _trades(self, content: Raw) -> list[Event]:
        events: list[Event] = []
        for trade in reading(self.name, _decode_trades, content):
            try:
                market = self._markets[trade.symbol]
            except KeyError:
                events.append(unlisted(trade.symbol))
                continue
            price, native = positive(_text(trade.price)), positive(_text(trade.size))
            size, native = market.base(native, price), "" if market.unit else native
            ts = text_ms(_text(trade.trade_time_ms))
            events.append(Trade(market.symbol, price, size, trade.side.lower(), ts, trade.trade_id, native=native))
        return events

    def _book(self, message: _Frame) -> list[Event]:
        name = message.topic.partition(".")[2]
        try:
            symbol = self._markets[name].symbol
        except KeyError:
            return [unlisted(name)]
        snapshot = message.type == "snapshot"
        deleted: list[_Level] = []
        if snapshot:
            levels = self._snapshot(message.data)
        elif message.type == "delta":
            changes = reading(self.name, _decode_changes, message.data)
            deleted, levels = changes.delete, changes.update + changes.insert
        else:
            raise MalformedFrame(f"{self.name}: a book of type {message.type[:20]!r}")
        bids: list[Level] = []
        asks: list[Level] = []
        for level in deleted:
            (bids if level.side == "Buy" else asks).append((positive(_text(level.price)), "0"))
        for level in levels:
            sized = (positive(_text(level.price)), unsigned(_text(level.size)))
            (bids if level.side == "Buy" else asks).append(sized)
        number, ts = text_id(_text(message.cross_seq)), text_ms(str(text_id(_text(message.timestamp_e6)) // 1000))
        return [BookUpdate(symbol, snapshot, bids, asks, ts, number, number)]

    def _snapshot(self, content: Raw) -> list[_Level]:
        if bytes(content)[:1] == b"[":
            return reading(self.name, _decode_levels, content)
        return reading(self.name, _decode_one_down, content).order_book

    def book_rule(self, symbol: str) -> BookRule:
        """`cross_seq` goes up by any step: there is no proof."""
        return SnapshotFirst()


def _answer(message: _Frame) -> Sequence[Event]:
    if message.success is None:
        return [Unknown("without topic")]
    if message.ret_msg == "pong":
        return _HEARTBEAT
    request = message.request or _Request()
    detail = f"{request.op} {' '.join(request.args or ())[:120]} {message.ret_msg[:60]}"
    return [Ack(message.success, detail.strip()[:200])]


def _text(raw: Raw) -> str:
    """What is in the quotes, if there are any."""
    try:
        text = str(raw, "ascii")
    except UnicodeDecodeError:
        raise MalformedFrame("a number has characters that are not ASCII") from None
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
