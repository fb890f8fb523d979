"""Entries become rows in two ways; whatever the short one takes, the long one takes too, with the same result."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.datasets import BEFORE, dataset_named
from coinswarm.ingest.book_samples import finished_until, passed
from coinswarm.ingest.entries import Reader, Row, Unfit, from_verbatim, lists, trade_kind, verbatim
from coinswarm.ingest.streams import Entry
from coinswarm.ticks.model import Trade
from coinswarm.ticks.resp import trade_fields

pytestmark = pytest.mark.unit

KEY = "trades:BTC-USDT"
NOON = 1_764_158_400_123
COLUMNS = [column.name for column in (*BEFORE, *dataset_named("trades").columns)]


def entry(fields: dict[str, Any]) -> Entry:
    return Entry(f"{NOON}-0", [str(part) for pair in fields.items() for part in pair])


def fields(**changed: Any) -> dict[str, Any]:
    known = {"venue": "okx", "price": "60000.10", "size": "0.00100", "side": "buy", "ts": NOON, "id": "7"}
    return {
        **known,
        **{name: value for name, value in changed.items() if name != "recv"},
        "recv": changed.get("recv", NOON),
    }


def columns(row: Row) -> dict[str, Any]:
    """Values of a line as the table would hold them."""
    texts = dict(zip(COLUMNS, row.line.split("\t"), strict=True))
    numbers = {
        name: Decimal(texts[name]) for name in ("price", "size_base", "size_native", "sequence") if texts[name] != r"\N"
    }
    times = {name: datetime.fromisoformat(texts[name]).astimezone(UTC) for name in ("event_at", "received_at")}
    return {**texts, **numbers, **times, "day": row.day, "key": row.key}


numbers = st.one_of(
    st.decimals(min_value=0, max_value=10**12, places=8).map(lambda number: f"{number:f}"),
    st.from_regex(r"\A[0-9]{0,3}[.]?[0-9]{0,32}\Z"),
    st.sampled_from(["0", "0.000", "1e5", "-1", "NaN", "Infinity", "", " 1", "1_0", "\uff11", "0x1", "9" * 31]),
)
texts = st.text(alphabet=st.characters(codec="utf-8"), max_size=8)


@given(
    price=numbers,
    size=numbers,
    side=st.one_of(st.sampled_from(["buy", "sell", "BUY"]), texts),
    ts=st.one_of(st.integers(NOON - 10**9, NOON + 600_000), texts),
    trade_id=st.one_of(st.integers(0, 10**18).map(str), st.from_regex(r"\A[0-9a-f-]{1,36}\Z"), texts),
    venue=st.one_of(st.sampled_from(["okx", "binance", "nowhere"]), texts),
    native=st.one_of(st.none(), numbers),
    seq=st.one_of(st.none(), st.integers(0, 2**70), texts),
    liquidation=st.one_of(st.none(), st.sampled_from(["0", "1", "2", ""])),
)
def test_read_when_the_short_way_takes_an_entry_then_the_long_way_says_the_same(
    price: str,
    size: str,
    side: str,
    ts: Any,
    trade_id: str,
    venue: str,
    native: str | None,
    seq: Any,
    liquidation: str | None,
) -> None:
    optional = (("seq", seq), ("native", native), ("liquidation", liquidation))
    extra = {name: value for name, value in optional if value is not None}
    one = entry(fields(price=price, size=size, side=side, ts=ts, id=trade_id, venue=venue, **extra))
    reader = Reader(KEY)
    quick, slow = reader.read(one), reader._read_slowly(one)
    if isinstance(slow, Row):
        assert isinstance(quick, Row)
        assert columns(quick) == columns(slow)
    else:
        assert quick == slow


@pytest.mark.parametrize("native", ["", "3"])
@pytest.mark.parametrize("first", [-1, 7, 5])
@pytest.mark.parametrize(("liquidation", "said"), [(None, r"\N"), (False, "f"), (True, "t")])
def test_read_when_the_pump_wrote_the_entry_then_the_short_way_takes_it(
    native: str, first: int, liquidation: bool | None, said: str
) -> None:
    # The pump and this reader agree about names and order, or every trade would go the long way.
    trade = Trade("BTC-USDT", "60000.10", "0.001", "sell", NOON, "7", first, 7, native, liquidation)
    reader = Reader(KEY)
    row = reader.read(entry(trade_fields(trade, "okx", str(NOON + 3))))
    assert isinstance(row, Row)
    assert "T" not in row.line.split("\t")[2], "the long way writes ISO times"
    found = columns(row)
    assert found["sequence"] == (Decimal(5) if first == 5 else r"\N")
    assert found["size_native"] == (Decimal(3) if native else r"\N")
    assert found["is_liquidation"] == said


def test_row_when_received_at_another_time_then_says_the_same_and_otherwise_not() -> None:
    reader = Reader(KEY)
    rows = [reader.read(entry(fields(**change))) for change in ({}, {"recv": NOON + 9}, {"price": "60000.2"})]
    first, later, other = rows
    assert isinstance(first, Row)
    assert isinstance(later, Row)
    assert isinstance(other, Row)
    assert later.says_the_same(first.line)
    assert not other.says_the_same(first.line)


def test_read_when_an_entry_is_broken_then_names_the_field_and_the_day_redis_took_it() -> None:
    assert Reader(KEY).read(Entry(f"{NOON}-5", ["venue", "okx", "price"])) == Unfit(
        "okx", NOON // 86_400_000, "entry", "not names and values by turns, each name once"
    )


@pytest.mark.parametrize(
    ("venue", "symbol", "listed", "kind"),
    [
        ("binance", "BTC-USDT", True, "trade"),
        ("binance", "BTC-USDT-PERP", True, "aggregate"),
        ("okx", "BTC-USDT-PERP", True, "trade"),
        ("deribit", "BTC-27MAR26-100000-C", True, "trade"),
        ("binance", "NO-SUCH", False, "trade"),
    ],
)
def test_instrument_when_asked_then_registry_or_rule_knows_it(venue: str, symbol: str, listed: bool, kind: str) -> None:
    assert (lists(venue, symbol), trade_kind(venue, symbol)) == (listed, kind)


@given(st.lists(st.text(), max_size=6))
def test_verbatim_when_read_again_then_equals_the_entry(parts: list[str]) -> None:
    clean = [part.encode("utf-8", "replace").decode() for part in parts]
    line = verbatim(KEY, Entry("1-2", clean))
    assert b"\n" not in line
    assert from_verbatim(line) == (KEY, Entry("1-2", clean))


def test_finished_until_when_a_minute_has_just_ended_then_it_is_not_over_yet() -> None:
    minute = 1_764_158_400_000
    assert finished_until(minute + 4_999) == minute - 60_000
    assert finished_until(minute + 5_000) == minute
    assert passed(minute) == f"{minute - 1}-18446744073709551615"
