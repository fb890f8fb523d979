"""Kraken spot, WebSocket v1: array frames. Retired for us; only for replaying recordings.

Traps: a book update may come as two objects, the second with the checksum; trades have no ids; numbers are text.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw, Struct
from msgspec.json import Decoder

from coinswarm.registry import Instrument
from coinswarm.ticks.exact import Text, check_levels, positive, text_id, text_ms
from coinswarm.ticks.markets import Markets
from coinswarm.ticks.model import Ack, BookUpdate, Event, Heartbeat, Level, MalformedFrame, Trade, Unknown
from coinswarm.ticks.protocol import BookRule
from coinswarm.ticks.venues._connection import Connection, SnapshotFirst, reading, unlisted
from coinswarm.ticks.venues.kraken import SLUG, checksum

_SIDES = {"b": "buy", "s": "sell"}
_HEARTBEAT = (Heartbeat(),)


class _Level(Struct, array_like=True):
    price: Text
    size: Text
    time: Text


class _Trade(Struct, array_like=True):
    price: Text
    size: Text
    time: Text
    side: str


class _Changes(Struct, rename={"bid_snapshot": "bs", "ask_snapshot": "as", "bids": "b", "asks": "a", "checksum": "c"}):
    bid_snapshot: list[_Level] | None = None
    ask_snapshot: list[_Level] | None = None
    bids: list[_Level] = []
    asks: list[_Level] = []
    checksum: str = ""


class _Notice(Struct):
    event: str = ""
    status: str = ""
    pair: str = ""
    channelName: str = ""
    errorMessage: str = ""


_decode_parts = Decoder(list[Raw]).decode
_decode_text = Decoder(str).decode
_decode_changes = Decoder(_Changes).decode
_decode_trades = Decoder(list[_Trade]).decode
_decode_notice = Decoder(_Notice).decode


def connections(market: str, instruments: Sequence[Instrument] | None = None) -> tuple[LegacyKraken, ...]:
    """The one connection; it subscribes to nothing."""
    return (LegacyKraken(instruments),)


class LegacyKraken(Connection):
    """Frames of `wss://ws.kraken.com`, with books of 1000 levels or fewer."""

    slug = SLUG
    name = "legacy_kraken"
    url = "wss://ws.kraken.com"
    book_depth = 1000

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        super().__init__(Markets.of(instruments, lambda i: f"{'XBT' if i.base == 'BTC' else i.base}/{i.quote}"))

    def subscribe(self) -> tuple[bytes, ...]:
        """Nothing: the protocol is only replayed."""
        return ()

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what Kraken documented.
        """
        if frame[:1] == b"{":
            return self._notice(frame)
        parts = reading(self.name, _decode_parts, frame)
        if len(parts) < 4:
            raise MalformedFrame(f"{self.name}: {len(parts)} parts instead of id, content, channel and pair")
        channel = reading(self.name, _decode_text, bytes(parts[-2]))
        pair = reading(self.name, _decode_text, bytes(parts[-1]))
        content = [bytes(part) for part in parts[1:-2]]
        kind = channel.partition("-")[0]
        if kind not in ("trade", "book"):
            return [Unknown(channel[:60] or "without channel")]
        try:
            symbol = self._markets[pair].symbol
        except KeyError:
            return [unlisted(pair)]
        return self._book(symbol, content) if kind == "book" else self._trades(symbol, content)

    def _notice(self, frame: bytes) -> Sequence[Event]:
        notice = reading(self.name, _decode_notice, frame)
        if notice.event in ("heartbeat", "pong"):
            return _HEARTBEAT
        if notice.event == "subscriptionStatus":
            detail = f"{notice.status} {notice.channelName} {notice.pair} {notice.errorMessage}"
            return [Ack(notice.status in ("subscribed", "unsubscribed"), detail.strip()[:200])]
        if notice.event == "systemStatus" and notice.status == "online":
            return []
        return [Unknown(f"{notice.event[:40]} {notice.status[:20]}".strip() or "without event")]

    def _book(self, symbol: str, content: list[bytes]) -> Sequence[Event]:
        bids: list[_Level] = []
        asks: list[_Level] = []
        snapshot, check = False, -1
        for part in content:
            changes = reading(self.name, _decode_changes, part)
            if changes.bid_snapshot is not None or changes.ask_snapshot is not None:
                snapshot = True
                bids += changes.bid_snapshot or []
                asks += changes.ask_snapshot or []
            bids += changes.bids
            asks += changes.asks
            if changes.checksum:
                check = text_id(changes.checksum)
        if not (snapshot or bids or asks):
            raise MalformedFrame(f"{self.name}: a book update without levels")
        times = [_milliseconds(level.time) for level in (*bids, *asks)]
        return [
            BookUpdate(symbol, snapshot, _levels(bids), _levels(asks), max(times, default=0), checksum=check),
        ]

    def _trades(self, symbol: str, content: list[bytes]) -> Sequence[Event]:
        events: list[Event] = []
        for part in content:
            for trade in reading(self.name, _decode_trades, part):
                side = _SIDES.get(trade.side)
                if side is None:
                    raise MalformedFrame(f"{self.name}: side {trade.side[:20]!r}")
                # There are no ids. Microseconds and place in the frame tell trades apart.
                name = f"{trade.time}-{len(events)}"
                price, size = positive(trade.price), positive(trade.size)
                events.append(Trade(symbol, price, size, side, _milliseconds(trade.time), name))
        return events

    def book_rule(self, symbol: str) -> BookRule:
        """There is no sequence; the checksum is the proof."""
        return SnapshotFirst()

    def checksum(self, symbol: str, bids: Sequence[Level], asks: Sequence[Level]) -> int | None:
        """As in v2."""
        return checksum(bids, asks)


def _levels(levels: list[_Level]) -> list[Level]:
    pairs: list[Level] = [(level.price, level.size) for level in levels]
    check_levels(pairs)
    return pairs


def _milliseconds(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return text_ms(f"{seconds}{fraction[:3]:0<3}")
