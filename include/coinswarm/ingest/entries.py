"""From entries of the streams to rows of `staging`: the same checks for all, a short way for trades, which are many."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import combinations
from typing import Any, NamedTuple

import msgspec

from coinswarm.datasets import BEFORE, Dataset, dataset_named
from coinswarm.datasets.records import CLOCK_SKEW, FieldError, Record, check
from coinswarm.ingest.streams import Entry
from coinswarm.registry import INSTRUMENTS, InstrumentKind
from coinswarm.sources.reading import decimal, optional_decimal, text, whole
from coinswarm.storage.staging import line_writer
from coinswarm.ticks.model import Channel
from coinswarm.timeframes import from_milliseconds

DAY_MS = 86_400_000
# Where the venue's own feed of an instrument gives aggregates instead of single trades.
AGGREGATING_MARKETS = frozenset({("binance", "usdm"), ("binance", "coinm")})
# What is quoted by expiry is not listed one by one; its name is made by rule.
_DERIVED = re.compile(r"[A-Z0-9]{2,12}(?:-[A-Z]{3,5})?-[0-9]{1,2}[A-Z]{3}[0-9]{2}(?:-[0-9.]{1,12}-[CP])?", re.ASCII)

_NUMBER = r"[0-9]{1,30}(?:\.[0-9]{1,30})?"
_POSITIVE = rf"(?=[0.]*[1-9]){_NUMBER}"
_TIME = r"([0-9]{10})([0-9]{3})"
# Whatever fits here would pass `records.check`; whatever does not goes the long way and is judged there.
_TRADE = rf"({_POSITIVE})\t({_NUMBER})\t(buy|sell)\t{_TIME}\t([A-Za-z0-9][A-Za-z0-9._:+-]{{0,63}})"
_OPTIONAL = {"seq": r"\t([0-9]{1,18})", "native": rf"\t({_NUMBER})", "liquidation": r"\t([01])"}


def _shape(there: tuple[str, ...]) -> tuple[str, re.Pattern[str]]:
    values = (pattern if name in there else "()" for name, pattern in _OPTIONAL.items())
    names = " ".join(("venue price size side ts id", *there, "recv"))
    return names, re.compile(_TRADE + "".join(values) + rf"\t{_TIME}", re.ASCII)


# By the names of their fields, in the order in which the pump writes them.
_SHAPES = dict(_shape(there) for size in range(len(_OPTIONAL) + 1) for there in combinations(_OPTIONAL, size))
_SAID = {"0": "f", "1": "t"}
_NULL = "\\N"
_RECEIVED = [column.name for column in BEFORE].index("received_at")
_SKEW_SECONDS = int(CLOCK_SKEW.total_seconds())


class Row(NamedTuple):
    """An entry that is a row: where it belongs, its natural key beyond the symbol, and its line for COPY."""

    venue: str
    day: int
    key: str
    line: str

    def says_the_same(self, line: str) -> bool:
        """Whether another line differs in nothing but when it was received."""
        mine, other = self.line.split("\t"), line.split("\t")
        return mine[:_RECEIVED] == other[:_RECEIVED] and mine[_RECEIVED + 1 :] == other[_RECEIVED + 1 :]


@dataclass(frozen=True, slots=True)
class Unfit:
    """An entry that cannot be a row. `venue` is `unknown` where the entry names none that we know."""

    venue: str
    day: int
    field: str
    reason: str


def dataset_of(key: str) -> Dataset:
    """The dataset that the entries of a stream belong to."""
    return dataset_named(_DATASETS[key.partition(":")[0]])


class Reader:
    """Reads the entries of one stream. Venues are looked up in the registry once."""

    def __init__(self, key: str) -> None:
        channel, _, rest = key.partition(":")
        self.key = key
        self.symbol = rest.removesuffix(":snapshot")
        self.dataset = dataset_of(key)
        self._build = _BUILDERS[channel]
        self._plain = channel == Channel.TRADES.value
        self._heads: dict[str, tuple[str, str]] = {}

    def read(self, entry: Entry) -> Row | Unfit:
        """The row that an entry is, or why it is none."""
        fields = entry.fields
        shape = _SHAPES.get(" ".join(fields[::2])) if self._plain else None
        found = shape.fullmatch("\t".join(fields[3::2])) if shape is not None else None
        if found is not None:
            venue = fields[1]
            head = self._heads.get(venue) or self._head(venue)
            price, size, side, second, ms, trade_id, sequence, native, forced, received, received_ms = found.groups()
            if head is not None and int(second) < int(received) + _SKEW_SECONDS:
                line = (
                    f"{head[0]}{_second(second)}.{ms}+00\t\\N\t{_second(received)}.{received_ms}+00\t\\N\tobserved\tf"
                    f"\t{trade_id}\t{head[1]}\t{price}\t{size}\t{side}"
                    f"\t{native or _NULL}\t{sequence or _NULL}\t{_SAID.get(forced, _NULL)}"
                )
                return Row(venue, int(second) // 86_400, trade_id, line)
        return self._read_slowly(entry)

    def record(self, entry: Entry) -> tuple[str, Record, datetime]:
        """Venue, record and time of reception of an entry.

        Raises:
            FieldError: it cannot be a record; the first field that does not fit.
        """
        if len(entry.fields) % 2 or len(set(entry.fields[::2])) * 2 != len(entry.fields):
            raise FieldError("entry", "not names and values by turns, each name once")
        fields = dict(zip(entry.fields[::2], entry.fields[1::2], strict=True))
        venue = _venue(fields)
        if not lists(venue, self.symbol):
            raise FieldError("symbol", f"{venue} does not list {self.symbol[:40]!r}")
        received_at = _moment(fields, "recv")
        record = Record(self.symbol, _moment(fields, "ts"), self._build(venue, self.symbol, fields))
        check(self.dataset, record, received_at)
        return venue, record, received_at

    def _read_slowly(self, entry: Entry) -> Row | Unfit:
        try:
            venue, record, received_at = self.record(entry)
        except FieldError as error:
            return self._unfit(entry, error)
        own = {**record.values, "event_at": record.event_at}
        key = "\t".join(str(_plain(own[name])) for name in self.dataset.key)
        day = (record.event_at - from_milliseconds(0)).days
        return Row(venue, day, key, line_writer(self.dataset, venue)(record, received_at))

    def _unfit(self, entry: Entry, error: FieldError) -> Unfit:
        fields = dict(zip(entry.fields[::2], entry.fields[1::2], strict=False))
        venue = fields.get("venue", "")
        # Its own time may be what is wrong with it; when Redis took it is certain.
        return Unfit(venue if venue in _venues() else "unknown", _redis_day(entry.id), error.field, error.reason)

    def _head(self, venue: str) -> tuple[str, str] | None:
        if venue not in _venues() or not lists(venue, self.symbol):
            return None
        self._heads[venue] = head = (f"{venue}\t{self.symbol}\t", trade_kind(venue, self.symbol))
        return head


def lists(venue: str, symbol: str) -> bool:
    """Whether a venue has the instrument: by the registry, or by rule where it is named by its expiry."""
    return symbol in _symbols(venue) or (symbol.isascii() and _DERIVED.fullmatch(symbol) is not None)


@cache
def trade_kind(venue: str, symbol: str) -> str:
    """What a trade of the venue's live feed is, `trade` or `aggregate`."""
    for instrument in INSTRUMENTS.of(venue):
        if instrument.symbol == symbol and (venue, instrument.market) in AGGREGATING_MARKETS:
            return "aggregate"
    return "trade"


def verbatim(key: str, entry: Entry) -> bytes:
    """An entry as one line of JSON: stream, id, fields."""
    return _ENCODER.encode((key, entry.id, entry.fields))


def from_verbatim(line: bytes) -> tuple[str, Entry]:
    """Inverse of `verbatim`."""
    key, entry_id, fields = _DECODER.decode(line)
    return key, Entry(entry_id, fields)


def _redis_day(entry_id: str) -> int:
    return int(entry_id.partition("-")[0]) // DAY_MS


def _venue(fields: Mapping[str, str]) -> str:
    venue = fields.get("venue", "")
    if venue not in _venues():
        raise FieldError("venue", f"{venue[:40]!r} is no venue")
    return venue


def _moment(fields: Mapping[str, str], name: str) -> datetime:
    value = whole(fields, name)
    if not 0 < value < 4_102_444_800_000:  # 2100
        raise FieldError(name, f"{value} is not a time in milliseconds")
    return from_milliseconds(value)


def _trade(venue: str, symbol: str, fields: Mapping[str, str]) -> dict[str, Any]:
    trade_id = text(fields, "id")
    if not trade_id.strip():
        raise FieldError("id", "empty")
    return {
        "trade_id": trade_id,
        "trade_kind": trade_kind(venue, symbol),
        "price": decimal(fields, "price"),
        "size_base": decimal(fields, "size"),
        "side": text(fields, "side"),
        "size_native": optional_decimal(fields, "native"),
        "sequence": whole(fields, "seq") if fields.get("seq") else None,
        "is_liquidation": _flag(fields, "liquidation") if "liquidation" in fields else None,
    }


def _liquidation(_venue: str, _symbol: str, fields: Mapping[str, str]) -> dict[str, Any]:
    return {
        "side": text(fields, "side"),
        "price": decimal(fields, "price"),
        "size_base": decimal(fields, "size"),
        "size_native": optional_decimal(fields, "native"),
        "price_kind": text(fields, "price_kind"),
        "is_sampled": _flag(fields, "sampled"),
    }


def _flag(fields: Mapping[str, str], name: str) -> bool:
    value = {"0": False, "1": True}.get(text(fields, name))
    if value is None:
        raise FieldError(name, "not 0 or 1")
    return value


def _book(_venue: str, _symbol: str, fields: Mapping[str, str]) -> dict[str, Any]:
    numbers = ("spread_bps", "imbalance", "ofi", "trade_imbalance")
    sequence = whole(fields, "seq") if fields.get("seq") else -1
    return {
        "bids": _levels(fields, "bids"),
        "asks": _levels(fields, "asks"),
        "last_update_id": sequence if sequence >= 0 else None,
        **{name: optional_decimal(fields, name) for name in numbers},
    }


def _levels(fields: Mapping[str, str], name: str) -> list[Any]:
    try:
        levels = msgspec.json.decode(text(fields, name), type=list[tuple[str, str]])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise FieldError(name, f"not a list of prices and sizes: {error}") from None
    for level in levels:
        if decimal(level, 0) <= 0 or decimal(level, 1) < 0:
            raise FieldError(name, f"level {level!r:.60} is not a price and a size")
    return [list(level) for level in levels]


def _plain(value: Any) -> Any:
    # As the table compares them: "1.10" and "1.1" are one number.
    return value.normalize() if isinstance(value, Decimal) else value


@cache
def _venues() -> frozenset[str]:
    return frozenset(instrument.source for instrument in INSTRUMENTS)


@cache
def _symbols(venue: str) -> frozenset[str]:
    return frozenset(i.symbol for i in INSTRUMENTS.of(venue, kinds=tuple(InstrumentKind)))


_SECONDS: dict[str, str] = {}


def _second(digits: str) -> str:
    found = _SECONDS.get(digits)
    if found is None:
        if len(_SECONDS) > 10_000:
            _SECONDS.clear()
        found = _SECONDS[digits] = datetime.fromtimestamp(int(digits), UTC).strftime("%Y-%m-%d %H:%M:%S")
    return found


Builder = Callable[[str, str, Mapping[str, str]], dict[str, Any]]
_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(tuple[str, str, list[str]])
_DATASETS = {
    Channel.TRADES.value: "trades",
    Channel.LIQUIDATIONS.value: "liquidations",
    Channel.BOOK.value: "order_books",
}
_BUILDERS: dict[str, Builder] = {
    Channel.TRADES.value: _trade,
    Channel.LIQUIDATIONS.value: _liquidation,
    Channel.BOOK.value: _book,
}
