"""What committee agents get: one frozen type per channel, and what they must know about the channel itself.

Prices, sizes and rates are `Decimal` with the venue's own digits: equal to what was sent, ready to calculate with, and
`str()` gives the exact text back. Times are aware UTC. What a venue does not give is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import Struct

from coinswarm.datasets.records import MAX_EXPONENT, FieldError
from coinswarm.ticks.positions import Cause
from coinswarm.timeframes import from_milliseconds

_NUMBER = re.compile(r"-?[0-9]{1,40}(?:\.[0-9]{1,40})?(?:[eE][+-]?[0-9]{1,2})?", re.ASCII)
_WHOLE = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_LATEST_MS = 4_102_444_800_000  # 2100
_LEVELS = msgspec.json.Decoder(list[tuple[str, str]])
_TEXTS = msgspec.json.Decoder(dict[str, str])
_FLOATS = msgspec.json.Decoder(dict[str, float])
_MAX_LEVELS = 1000
_MAX_TEXT = 200


class Message(Struct, frozen=True, kw_only=True):
    """Whatever came on a channel. `channel` is its name, `BTC-USD:trades`; `id` is the entry's in the stream.

    `id` is empty in a snapshot, which is not read from the stream.
    """

    channel: str
    id: str


class Tick(Message, frozen=True, kw_only=True):
    """Something that happened. `event_at` is the venue's time; where its frame has none, it is `received_at`."""

    symbol: str
    event_at: datetime
    received_at: datetime

    @property
    def taken_at(self) -> datetime:
        """When Redis took it: never runs backwards within a subscription; in a snapshot, `received_at`."""
        return from_milliseconds(int(self.id.partition("-")[0])) if self.id else self.received_at


class VenueTick(Tick, frozen=True, kw_only=True):
    """Something that happened at one venue; `venue` is the slug of the source."""

    venue: str


class Trade(VenueTick, frozen=True, kw_only=True):
    """A trade, or a taker's order at one price where the venue sums those up. It may come twice: `trade_id` tells.

    `side` is what the taker did, `buy` or `sell`; `size` is in base units, `native` as the venue counts where that
    differs; `sequence` is the first number that it covers, where that is not `trade_id`. `liquidation` is whether a
    forced order took part, None where the venue's trades do not say.
    """

    price: Decimal
    size: Decimal
    side: str
    trade_id: str
    native: Decimal | None = None
    sequence: int | None = None
    liquidation: bool | None = None


class Level(NamedTuple):
    """One price of a book and what is offered there, in base units."""

    price: Decimal
    size: Decimal


class OrderBook(VenueTick, frozen=True, kw_only=True):
    """The best levels of a book, best first, and what the changes since the one before tell.

    `imbalance` is (bid - ask) / (bid + ask) of the sizes, `ofi` the order-flow imbalance (Cont et al. 2014) and
    `trade_imbalance` what takers bought less what they sold, both in base units since the book before.
    """

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    spread_bps: Decimal | None = None
    imbalance: Decimal | None = None
    ofi: Decimal | None = None
    trade_imbalance: Decimal | None = None
    sequence: int | None = None


class Liquidation(VenueTick, frozen=True, kw_only=True):
    """A forced order. `side` is the position that was closed, `long` or `short`; `size` is in base units.

    `price_kind` says what the price is: `average`, `bankruptcy` or `order`. `sampled` is true where the venue does not
    publish all of them.
    """

    side: str
    price: Decimal
    size: Decimal
    price_kind: str
    sampled: bool
    native: Decimal | None = None


class Funding(VenueTick, frozen=True, kw_only=True):
    """State of a perpetual. `rate` is per `interval_hours`, due at `next_at`; `mark` and `index` are prices."""

    rate: Decimal | None = None
    interval_hours: int | None = None
    next_at: datetime | None = None
    mark: Decimal | None = None
    index: Decimal | None = None


class OpenInterest(VenueTick, frozen=True, kw_only=True):
    """Open contracts, counted on one side, in base units; `native` as the venue counts where that differs."""

    base: Decimal
    native: Decimal | None = None


class VolatilityIndex(VenueTick, frozen=True, kw_only=True):
    """A venue's own index of implied volatility; `value` in percent per year, `symbol` is the asset."""

    value: Decimal


class OptionQuote(VenueTick, frozen=True, kw_only=True):
    """Implied volatility of the option `instrument`, in percent per year; `symbol` is the asset beneath it."""

    instrument: str
    mark_iv: Decimal
    bid_iv: Decimal | None = None
    ask_iv: Decimal | None = None
    delta: Decimal | None = None
    mark: Decimal | None = None
    underlying: Decimal | None = None
    open_interest: Decimal | None = None


class Arbitrage(Tick, frozen=True, kw_only=True):
    """An edge between two venues of one symbol: buy at `buy`, sell at `sell`; `net_bps` is after both takers' fees."""

    buy: str
    sell: str
    buy_price: Decimal
    sell_price: Decimal
    gross_bps: Decimal
    net_bps: Decimal


class CrossVenue(Tick, frozen=True, kw_only=True):
    """The venues of one symbol beside each other: the best bid and ask of all, and what each differs by.

    `spread_bps` is negative where the best bid is above the best ask. `difference_bps` is each venue's middle against
    the median of all, `latency_ms` how much later than the median venue's its book came, and `skew_ms` its shortest way
    of the last minutes by the venue's own clock: negative if that clock is ahead of ours.
    """

    bid_venue: str
    bid: Decimal
    ask_venue: str
    ask: Decimal
    spread_bps: Decimal
    difference_bps: Mapping[str, Decimal]
    latency_ms: Mapping[str, float]
    skew_ms: Mapping[str, float]


class Unreadable(Message, frozen=True, kw_only=True):
    """An entry that is not what the channel promises: which field, and why; `fields` is all of it."""

    field: str
    reason: str
    fields: Mapping[str, str]


class Missed(Message, frozen=True, kw_only=True):
    """Entries of this channel will not come: they were `trimmed` before we read them, or `forgotten` by Redis itself.

    They lie after the entry `after`; the next one that does come is `id` (empty: not there yet). `entries` is None
    where their number cannot be told; then it may be that nothing is missing, but that cannot be told either.
    """

    cause: Cause
    entries: int | None
    after: str


class Interrupted(Struct, frozen=True, kw_only=True):
    """Redis does not answer: nothing new comes until `Resumed`. Reading goes on by itself."""

    reason: str


class Resumed(Struct, frozen=True, kw_only=True):
    """Redis answers again; reading goes on after the last message. What is missing follows as `Missed`, if anything."""


Notice = Missed | Unreadable | Interrupted | Resumed
AnyTick = (
    Trade | OrderBook | Liquidation | Funding | OpenInterest | VolatilityIndex | OptionQuote | Arbitrage | CrossVenue
)  # fmt: skip
AnyMessage = AnyTick | Notice

Fields = Mapping[str, str]
T = TypeVar("T")


def read(kind: str, channel: str, symbol: str, entry_id: str, fields: Fields) -> AnyTick | Unreadable:
    """The message that an entry of a channel of this kind is."""
    try:
        return _READERS[kind](channel, symbol, entry_id, fields)
    except FieldError as error:
        return Unreadable(channel=channel, id=entry_id, field=error.field, reason=error.reason, fields=dict(fields))


def _trade(channel: str, symbol: str, entry_id: str, fields: Fields) -> Trade:
    received_at = _moment(fields, "recv")
    return Trade(
        channel=channel,
        id=entry_id,
        symbol=symbol,
        venue=_text(fields, "venue"),
        event_at=_event_at(fields, received_at),
        received_at=received_at,
        price=_positive(fields, "price"),
        size=_size(fields, "size"),
        side=_one_of(fields, "side", ("buy", "sell")),
        trade_id=_text(fields, "id"),
        native=_optional(fields, "native"),
        sequence=_optional_whole(fields, "seq"),
        liquidation=_flag(fields, "liquidation") if "liquidation" in fields else None,
    )


def _book(channel: str, symbol: str, entry_id: str, fields: Fields) -> OrderBook:
    received_at = _moment(fields, "recv")
    return OrderBook(
        channel=channel,
        id=entry_id,
        symbol=symbol,
        venue=_text(fields, "venue"),
        event_at=_event_at(fields, received_at),
        received_at=received_at,
        bids=_levels(fields, "bids"),
        asks=_levels(fields, "asks"),
        spread_bps=_optional(fields, "spread_bps"),
        imbalance=_optional(fields, "imbalance"),
        ofi=_optional(fields, "ofi"),
        trade_imbalance=_optional(fields, "trade_imbalance"),
        sequence=_optional_whole(fields, "seq"),
    )


def _liquidation(channel: str, symbol: str, entry_id: str, fields: Fields) -> Liquidation:
    received_at = _moment(fields, "recv")
    return Liquidation(
        channel=channel,
        id=entry_id,
        symbol=symbol,
        venue=_text(fields, "venue"),
        event_at=_event_at(fields, received_at),
        received_at=received_at,
        side=_one_of(fields, "side", ("long", "short")),
        price=_positive(fields, "price"),
        size=_size(fields, "size"),
        price_kind=_text(fields, "price_kind"),
        sampled=_flag(fields, "sampled"),
        native=_optional(fields, "native"),
    )


def _funding(channel: str, symbol: str, entry_id: str, fields: Fields) -> Funding:
    received_at = _moment(fields, "recv")
    return Funding(
        channel=channel,
        id=entry_id,
        symbol=symbol,
        venue=_text(fields, "venue"),
        event_at=_event_at(fields, received_at),
        received_at=received_at,
        rate=_optional(fields, "rate"),
        interval_hours=_optional_whole(fields, "interval_hours"),
        next_at=_moment(fields, "next_ts") if fields.get("next_ts") else None,
        mark=_optional(fields, "mark"),
        index=_optional(fields, "index"),
    )


def _open_interest(channel: str, symbol: str, entry_id: str, fields: Fields) -> OpenInterest:
    received_at = _moment(fields, "recv")
    return OpenInterest(
        channel=channel,
        id=entry_id,
        symbol=symbol,
        venue=_text(fields, "venue"),
        event_at=_event_at(fields, received_at),
        received_at=received_at,
        base=_size(fields, "base"),
        native=_optional(fields, "native"),
    )


def _volatility(channel: str, symbol: str, entry_id: str, fields: Fields) -> VolatilityIndex | OptionQuote:
    received_at = _moment(fields, "recv")
    venue, event_at = _text(fields, "venue"), _event_at(fields, received_at)
    if _one_of(fields, "kind", ("index", "option")) == "index":
        return VolatilityIndex(
            channel=channel,
            id=entry_id,
            symbol=symbol,
            venue=venue,
            event_at=event_at,
            received_at=received_at,
            value=_size(fields, "value"),
        )
    return OptionQuote(
        channel=channel,
        id=entry_id,
        symbol=symbol,
        venue=venue,
        event_at=event_at,
        received_at=received_at,
        instrument=_text(fields, "instrument"),
        mark_iv=_size(fields, "mark_iv"),
        bid_iv=_optional(fields, "bid_iv"),
        ask_iv=_optional(fields, "ask_iv"),
        delta=_optional(fields, "delta"),
        mark=_optional(fields, "mark"),
        underlying=_optional(fields, "underlying"),
        open_interest=_optional(fields, "open_interest"),
    )


def _arbitrage(channel: str, symbol: str, entry_id: str, fields: Fields) -> Arbitrage:
    received_at = _moment(fields, "recv")
    return Arbitrage(
        channel=channel,
        id=entry_id,
        symbol=symbol,
        event_at=_event_at(fields, received_at),
        received_at=received_at,
        buy=_text(fields, "buy"),
        sell=_text(fields, "sell"),
        buy_price=_positive(fields, "buy_price"),
        sell_price=_positive(fields, "sell_price"),
        gross_bps=_number(fields, "gross_bps"),
        net_bps=_number(fields, "net_bps"),
    )


def _cross_venue(channel: str, symbol: str, entry_id: str, fields: Fields) -> CrossVenue:
    received_at = _moment(fields, "recv")
    return CrossVenue(
        channel=channel,
        id=entry_id,
        symbol=symbol,
        event_at=_event_at(fields, received_at),
        received_at=received_at,
        bid_venue=_text(fields, "bid_venue"),
        bid=_positive(fields, "bid"),
        ask_venue=_text(fields, "ask_venue"),
        ask=_positive(fields, "ask"),
        spread_bps=_number(fields, "spread_bps"),
        difference_bps={
            venue: _decimal(bps, "difference_bps") for venue, bps in _by_venue(fields, "difference_bps", _TEXTS).items()
        },
        latency_ms=_by_venue(fields, "latency_ms", _FLOATS),
        skew_ms=_by_venue(fields, "skew_ms", _FLOATS),
    )


def _by_venue(fields: Fields, name: str, decoder: msgspec.json.Decoder[dict[str, T]]) -> dict[str, T]:
    try:
        return decoder.decode(fields.get(name, ""))
    except (msgspec.DecodeError, RecursionError) as error:
        raise FieldError(name, f"not values by venue: {error}"[:200]) from None


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name, "")
    if not value.strip():
        raise FieldError(name, "empty" if name in fields else "missing")
    if len(value) > _MAX_TEXT:
        raise FieldError(name, f"longer than {_MAX_TEXT} characters")
    return value


def _one_of(fields: Fields, name: str, known: tuple[str, ...]) -> str:
    value = fields.get(name, "")
    if value not in known:
        raise FieldError(name, f"{value[:40]!r} is not {' or '.join(known)}")
    return value


def _flag(fields: Fields, name: str) -> bool:
    return _one_of(fields, name, ("0", "1")) == "1"


def _decimal(value: str, name: str) -> Decimal:
    if not _NUMBER.fullmatch(value):
        raise FieldError(name, f"{value[:40]!r} is not a number")
    number = Decimal(value)
    # Only long text or an exponent can be out of range.
    if (len(value) > MAX_EXPONENT or "e" in value or "E" in value) and number and abs(number.adjusted()) > MAX_EXPONENT:
        raise FieldError(name, f"{value[:40]!r} is out of range")
    return number


def _number(fields: Fields, name: str) -> Decimal:
    value = fields.get(name)
    if value is None:
        raise FieldError(name, "missing")
    return _decimal(value, name)


def _optional(fields: Fields, name: str) -> Decimal | None:
    return _number(fields, name) if fields.get(name) else None


def _positive(fields: Fields, name: str) -> Decimal:
    number = _number(fields, name)
    if number <= 0:
        raise FieldError(name, f"{number} is not above zero")
    return number


def _size(fields: Fields, name: str) -> Decimal:
    number = _number(fields, name)
    if number < 0:
        raise FieldError(name, f"{number} is below zero")
    return number


def _optional_whole(fields: Fields, name: str) -> int | None:
    value = fields.get(name)
    if not value:
        return None
    if not _WHOLE.fullmatch(value):
        raise FieldError(name, f"{value[:40]!r} is not a whole number")
    return int(value)


def _moment(fields: Fields, name: str) -> datetime:
    value = _optional_whole(fields, name)
    if value is None or not 0 < value < _LATEST_MS:
        raise FieldError(name, f"{fields.get(name, '')[:40]!r} is not a time in milliseconds")
    return from_milliseconds(value)


def _event_at(fields: Fields, received_at: datetime) -> datetime:
    return received_at if fields.get("ts") == "0" else _moment(fields, "ts")


def _levels(fields: Fields, name: str) -> tuple[Level, ...]:
    try:
        levels = _LEVELS.decode(fields.get(name, ""))
    except (msgspec.DecodeError, RecursionError) as error:
        raise FieldError(name, f"not a list of prices and sizes: {error}"[:200]) from None
    if len(levels) > _MAX_LEVELS:
        raise FieldError(name, f"{len(levels)} levels")
    found = []
    for price, size in levels:
        level = Level(_decimal(price, name), _decimal(size, name))
        if level.price <= 0 or level.size < 0:
            raise FieldError(name, f"{price[:40]!r}, {size[:40]!r} is not a price and a size")
        found.append(level)
    return tuple(found)


_READERS: Mapping[str, Callable[[str, str, str, Fields], AnyTick]] = {
    "trades": _trade,
    "orderbook": _book,
    "liquidations": _liquidation,
    "funding": _funding,
    "open_interest": _open_interest,
    "volatility": _volatility,
    "arbitrage": _arbitrage,
    "cross_venue": _cross_venue,
}
KINDS = tuple(_READERS)
"""What can be subscribed to of a symbol."""

__all__ = [
    "KINDS", "AnyMessage", "AnyTick", "Arbitrage", "CrossVenue", "Funding", "Interrupted", "Level", "Liquidation",
    "Message", "Missed", "Notice", "OpenInterest", "OptionQuote", "OrderBook", "Resumed", "Tick", "Trade", "Unreadable",
    "VenueTick", "VolatilityIndex", "read",
]  # fmt: skip
