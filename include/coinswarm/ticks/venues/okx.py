"""OKX, WebSocket v5: `/public` and `/business`.

Traps: everything is text, times and ids too; swaps count in contracts; ping and pong are plain text; books say nothing
is new by an update without levels whose two numbers are equal, and after maintenance their numbers begin lower;
`checksum` is 0 in live frames (it was real until 2023); `trades` may merge fills, `trades-all` does not; liquidations
come for all swaps at once, some of them only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal
from zlib import crc32

from msgspec import Meta, Raw, Struct
from msgspec.json import Decoder, encode

from coinswarm.registry import Instrument, InstrumentKind
from coinswarm.ticks.exact import IdOrNone, Name, Text, check_levels, positive, signed, text_id, text_ms, unsigned
from coinswarm.ticks.markets import Markets
from coinswarm.ticks.model import (
    Ack,
    BookUpdate,
    Channel,
    Event,
    Funding,
    Goodbye,
    Heartbeat,
    Level,
    Liquidation,
    MalformedFrame,
    OpenInterest,
    Trade,
    Unknown,
)
from coinswarm.ticks.protocol import BookRule, Ping, Proof, Step, Stream
from coinswarm.ticks.venues._connection import RARE_SECONDS, UNREADABLE, Connection, malformed, reading, unlisted

SLUG = "okx"
CHECKSUM_LEVELS = 25
_CLOSING = "64008"  # the code of the notice that a connection is about to be closed for an upgrade
_HOUR_MS = 3_600_000
_NOTHING = Raw(b"")


class _Argument(Struct):
    channel: str = ""
    instId: str = ""
    instType: str = ""


class _Frame(Struct):
    arg: _Argument | None = None
    data: Raw = _NOTHING
    action: str = ""
    event: str = ""
    code: str = ""
    msg: str = ""


class _Trade(Struct, gc=False):
    instId: Name
    tradeId: Text
    px: Text
    sz: Text
    side: Literal["buy", "sell"]
    ts: Text
    count: Text = "1"


class _Trades(Struct):
    data: list[_Trade]


class _Level(Struct, array_like=True, gc=False):
    price: Text
    size: Text


class _Book(Struct):
    asks: list[_Level]
    bids: list[_Level]
    ts: Text
    checksum: Annotated[int, Meta(ge=-(2**31), lt=2**32)] = 0
    seqId: IdOrNone = -1
    prevSeqId: IdOrNone = -1


class _Funding(Struct):
    instId: Name
    fundingRate: Text
    fundingTime: Text
    nextFundingTime: str = ""
    ts: str = ""


class _OpenInterest(Struct):
    instId: Name
    oi: Text
    oiCcy: Text
    ts: Text


class _Order(Struct, gc=False):
    side: Literal["buy", "sell"]
    bkPx: Text
    sz: Text
    ts: Text
    posSide: Literal["long", "short", "net", ""] = ""


class _Liquidation(Struct):
    instId: Name
    details: list[_Order]


_decode = Decoder(_Frame).decode
_decode_all_trades = Decoder(_Trades).decode
_decode_trades = Decoder(list[_Trade]).decode
_decode_books = Decoder(list[_Book]).decode
_decode_funding = Decoder(list[_Funding]).decode
_decode_open_interest = Decoder(list[_OpenInterest]).decode
_decode_liquidations = Decoder(list[_Liquidation]).decode
_HEARTBEAT = (Heartbeat(),)
# Most frames of this venue: read in one go, where others are read twice, once to learn what they are.
_TRADES = b'{"arg":{"channel":"trades'


def connections(market: str, instruments: Sequence[Instrument] | None) -> tuple[OkxConnection, ...]:
    """Both connections; instruments None takes any symbol and subscribes to nothing (replay).

    `market` is `spot`, `swap`, or anything else for both.
    """
    if instruments is None:
        return OkxPublic(None), OkxBusiness(None)
    wanted = [i for i in instruments if i.source == SLUG and (i.market == market or market not in ("spot", "swap"))]
    return OkxPublic(wanted), OkxBusiness(wanted)


class OkxConnection(Connection, ABC):
    """What both connections share; either decodes all channels."""

    slug = SLUG
    # A connection without a message for 30 s is cut.
    ping = Ping(b"ping", 20.0)

    def subscribe(self) -> tuple[bytes, ...]:
        """One request for everything."""
        arguments = self._arguments()
        return (encode({"op": "subscribe", "args": arguments}),) if arguments else ()

    def _ask_again(self, venue_symbol: str) -> tuple[bytes, ...]:
        arguments = [{"channel": "books", "instId": venue_symbol}]
        return tuple(encode({"op": op, "args": arguments}) for op in ("unsubscribe", "subscribe"))

    def decode(self, frame: bytes) -> Sequence[Event]:
        """Events of a frame.

        Raises:
            MalformedFrame: not what OKX documents.
        """
        if frame.startswith(_TRADES):
            return self._trades(reading(self.name, _decode_all_trades, frame).data)
        if frame == b"pong":
            return _HEARTBEAT
        try:
            message = _decode(frame)
        except UNREADABLE as error:
            raise malformed(self.name, error) from None
        argument, content = message.arg, message.data
        if message.event or argument is None or content is _NOTHING:
            return self._answer(message)
        channel = argument.channel
        if channel in ("trades-all", "trades"):
            return self._trades(reading(self.name, _decode_trades, content))
        if channel in ("books", "books-l2-tbt", "books50-l2-tbt"):
            return self._books(argument, message.action, reading(self.name, _decode_books, content))
        if channel == "funding-rate":
            return self._funding(reading(self.name, _decode_funding, content))
        if channel == "open-interest":
            return self._open_interest(reading(self.name, _decode_open_interest, content))
        if channel == "liquidation-orders":
            return self._liquidations(reading(self.name, _decode_liquidations, content))
        return [Unknown(channel[:60] or "without channel")]

    @abstractmethod
    def _arguments(self) -> list[dict[str, str]]:
        """What to subscribe to."""

    def _answer(self, message: _Frame) -> Sequence[Event]:
        about = message.arg or _Argument()
        detail = f"{about.channel} {about.instId or about.instType}".strip()[:160]
        if message.event in ("subscribe", "unsubscribe"):
            return [Ack(True, f"{message.event} {detail}")]
        if message.event == "error":
            return [Ack(False, f"{message.code} {message.msg[:160]} {detail}".strip()[:200])]
        if message.event == "notice" and message.code == _CLOSING:
            return [Goodbye(message.msg[:200])]
        if message.event:
            return [Unknown(f"event {message.event[:40]}")]
        if message.arg is not None:
            raise MalformedFrame(f"{self.name}: {detail} without data")
        return [Unknown("without arg and event")]

    def _trades(self, trades: list[_Trade]) -> list[Event]:
        events: list[Event] = []
        for trade in trades:
            try:
                market = self._markets[trade.instId]
            except KeyError:
                events.append(unlisted(trade.instId))
                continue
            price, native = positive(trade.px), positive(trade.sz)
            last = text_id(trade.tradeId)
            # `trades` gives the last of the ids that it merged.
            first = last if trade.count == "1" else last - text_id(trade.count) + 1
            if not 0 <= first <= last:
                raise MalformedFrame(f"{self.name}: trade {last} covers {trade.count[:20]}")
            ts = text_ms(trade.ts)
            if market.unit:
                events.append(Trade(market.symbol, price, native, trade.side, ts, trade.tradeId, first, last))
            else:
                size = market.base(native, price)
                events.append(Trade(market.symbol, price, size, trade.side, ts, trade.tradeId, first, last, native))
        return events

    def _books(self, argument: _Argument, action: str, books: list[_Book]) -> Sequence[Event]:
        if action not in ("snapshot", "update"):
            raise MalformedFrame(f"{self.name}: {argument.channel} with action {action[:20]!r}")
        try:
            symbol = self._markets[argument.instId].symbol
        except KeyError:
            return [unlisted(argument.instId)]
        events = []
        for book in books:
            bids: list[Level] = [(level.price, level.size) for level in book.bids]
            asks: list[Level] = [(level.price, level.size) for level in book.asks]
            check_levels(bids)
            check_levels(asks)
            last, previous = book.seqId, book.prevSeqId
            events.append(
                BookUpdate(
                    symbol,
                    action == "snapshot",
                    bids,
                    asks,
                    text_ms(book.ts),
                    last,
                    last,
                    previous,
                    # Signed in the frame; 0 has meant none since 2023.
                    book.checksum & 0xFFFFFFFF if book.checksum else -1,
                )
            )
        return events

    def _funding(self, rows: list[_Funding]) -> list[Event]:
        events: list[Event] = []
        for row in rows:
            try:
                symbol = self._markets[row.instId].symbol
            except KeyError:
                events.append(unlisted(row.instId))
                continue
            due = text_ms(row.fundingTime)
            following = text_ms(row.nextFundingTime) if row.nextFundingTime else 0
            hours = (following - due) // _HOUR_MS if following > due else -1
            ts = text_ms(row.ts) if row.ts else 0
            events.append(Funding(symbol, ts, signed(row.fundingRate), due, hours))
        return events

    def _open_interest(self, rows: list[_OpenInterest]) -> list[Event]:
        events: list[Event] = []
        for row in rows:
            try:
                symbol = self._markets[row.instId].symbol
            except KeyError:
                events.append(unlisted(row.instId))
                continue
            events.append(OpenInterest(symbol, text_ms(row.ts), unsigned(row.oiCcy), unsigned(row.oi)))
        return events

    def _liquidations(self, rows: list[_Liquidation]) -> list[Event]:
        events: list[Event] = []
        for row in rows:
            try:
                market = self._markets[row.instId]
            except KeyError:
                continue  # they come for all swaps: others are no surprise
            for order in row.details:
                price, native = positive(order.bkPx), positive(order.sz)
                side = order.posSide
                if side not in ("long", "short"):
                    side = "long" if order.side == "sell" else "short"
                size, native = market.base(native, price), "" if market.unit else native
                ts = text_ms(order.ts)
                events.append(Liquidation(market.symbol, side, price, size, ts, "bankruptcy", True, native))
        return events

    def book_rule(self, symbol: str) -> BookRule:
        """`prevSeqId` names the update before."""
        return OkxChain()

    def checksum(self, symbol: str, bids: Sequence[Level], asks: Sequence[Level]) -> int | None:
        """CRC32 of the best 25 bids and asks in turns, for recordings that still have one."""
        return checksum(bids, asks)


class OkxPublic(OkxConnection):
    """`/public`: books, and the state of swaps."""

    name = "okx_public"
    url = "wss://ws.okx.com:8443/ws/v5/public"

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        super().__init__(Markets.of(instruments))
        self._swaps = [i for i in instruments or () if i.kind is InstrumentKind.PERPETUAL]
        self.streams = (
            *(Stream(Channel.BOOK, symbol, Proof.SEQUENCE, 60.0) for symbol in self._venue_symbols),
            *_streams(Channel.FUNDING, self._swaps, 120.0),
            *_streams(Channel.OPEN_INTEREST, self._swaps, 30.0),
            *_streams(Channel.LIQUIDATIONS, self._swaps, RARE_SECONDS),
        )

    def _arguments(self) -> list[dict[str, str]]:
        arguments = [{"channel": "books", "instId": name} for name in self._venue_symbols.values()]
        for channel in ("funding-rate", "open-interest"):
            arguments += [{"channel": channel, "instId": swap.venue_symbol} for swap in self._swaps]
        return arguments + ([{"channel": "liquidation-orders", "instType": "SWAP"}] if self._swaps else [])


class OkxBusiness(OkxConnection):
    """`/business`: each trade, not merged."""

    name = "okx_business"
    url = "wss://ws.okx.com:8443/ws/v5/business"

    def __init__(self, instruments: Sequence[Instrument] | None) -> None:
        super().__init__(Markets.of(instruments))
        self.streams = tuple(Stream(Channel.TRADES, symbol, Proof.SEQUENCE, 120.0) for symbol in self._venue_symbols)

    def _arguments(self) -> list[dict[str, str]]:
        return [{"channel": "trades-all", "instId": name} for name in self._venue_symbols.values()]


class OkxChain:
    """Numbers of one book: any step upwards, the same for a keep-alive, downwards after maintenance."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last: int | None = None

    def check(self, update: BookUpdate) -> Step:
        """Apply what follows the last number; after a break wait for the next snapshot."""
        last = self._last
        if update.snapshot:
            self._last = update.last
            return Step.APPLY
        if last is None:
            return Step.DROP
        if update.previous == last:
            self._last = update.last
            return Step.DROP if update.last == last != -1 else Step.APPLY
        if update.previous <= update.last <= last:
            return Step.DROP
        self._last = None
        return Step.RESYNC


def checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """CRC32, unsigned, of `bid:size:ask:size:…` of the best 25; where a side is shorter, the other goes on alone."""
    parts: list[str] = []
    for level in range(min(CHECKSUM_LEVELS, max(len(bids), len(asks)))):
        if level < len(bids):
            parts += bids[level]
        if level < len(asks):
            parts += asks[level]
    return crc32(":".join(parts).encode())


def _streams(channel: Channel, instruments: Iterable[Instrument], quiet_seconds: float) -> Iterable[Stream]:
    return (Stream(channel, instrument.symbol, Proof.NONE, quiet_seconds) for instrument in instruments)
