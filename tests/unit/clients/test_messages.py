"""Entries into messages: exact, and whatever is not as agreed is `Unreadable`, never an exception or a wrong number."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.clients.channels import Channel, channel, channel_of_key, check_known, check_venues, listed
from coinswarm.clients.messages import (
    KINDS,
    Funding,
    Level,
    Liquidation,
    OptionQuote,
    OrderBook,
    Trade,
    Unreadable,
    read,
)
from coinswarm.errors import UserError

pytestmark = pytest.mark.unit

MOMENT = datetime(2026, 3, 2, 1, 2, 3, 456000, tzinfo=UTC)
MS = "1772413323456"
COMMON = {"venue": "okx", "ts": MS, "recv": "1772413323460"}
GOOD: dict[str, dict[str, str]] = {
    "trades": {**COMMON, "price": "60000.10", "size": "1e-3", "side": "sell", "id": "77", "native": "3", "seq": "70"},
    "orderbook": {
        **COMMON, "bids": '[["10.0","1"],["9","2.50"]]', "asks": '[["10.5","0"]]', "spread_bps": "487.8",
        "imbalance": "-0.1", "ofi": "-3", "trade_imbalance": "0", "seq": "5",
    },
    "liquidations": {**COMMON, "side": "long", "price": "1", "size": "2", "price_kind": "order", "sampled": "1"},
    "funding": {**COMMON, "rate": "-0.0001", "next_ts": MS, "interval_hours": "8", "mark": "1", "index": "2"},
    "open_interest": {**COMMON, "base": "12.5", "native": "1250"},
    "volatility": {**COMMON, "kind": "option", "instrument": "BTC-27MAR26-100000-C", "mark_iv": "50", "delta": "-0.2"},
    "arbitrage": {
        "buy": "okx", "sell": "bybit", "buy_price": "1", "sell_price": "2", "gross_bps": "5", "net_bps": "-1",
        "ts": MS, "recv": MS,
    },
    "cross_venue": {
        "bid_venue": "okx", "bid": "1", "ask_venue": "bybit", "ask": "2", "spread_bps": "-5", "ts": MS, "recv": MS,
        "difference_bps": '{"okx":"0.1"}', "latency_ms": '{"okx":-4}', "skew_ms": "{}",
    },
}  # fmt: skip


def message(kind: str, /, **changed: str | None) -> object:
    fields = {name: value for name, value in {**GOOD[kind], **changed}.items() if value is not None}
    return read(kind, f"BTC-USDT:{kind}", "BTC-USDT", "1772413323461-0", fields)


def test_read_when_fields_are_as_agreed_then_numbers_and_times_are_exact() -> None:
    trade = message("trades")
    assert isinstance(trade, Trade)
    assert (str(trade.price), trade.size, trade.native, trade.sequence) == (
        "60000.10",
        Decimal("0.001"),
        Decimal(3),
        70,
    )
    assert (trade.event_at, trade.received_at - trade.event_at) == (MOMENT, timedelta(milliseconds=4))
    assert trade.taken_at == MOMENT + timedelta(milliseconds=5)
    with pytest.raises(AttributeError):
        trade.price = Decimal(1)  # type: ignore[misc]

    book = message("orderbook")
    assert isinstance(book, OrderBook)
    assert book.bids == (Level(Decimal("10.0"), Decimal(1)), Level(Decimal(9), Decimal("2.50")))
    assert [str(level.size) for level in book.bids] == ["1", "2.50"]
    forced = message("liquidations")
    assert isinstance(forced, Liquidation)
    assert (forced.side, forced.sampled, forced.native) == ("long", True, None)
    funding = message("funding", mark=None, next_ts=None)
    assert isinstance(funding, Funding)
    assert (funding.rate, funding.next_at, funding.mark, funding.index) == (Decimal("-0.0001"), None, None, Decimal(2))
    option = message("volatility")
    assert isinstance(option, OptionQuote)
    assert (option.instrument, option.bid_iv, option.delta) == ("BTC-27MAR26-100000-C", None, Decimal("-0.2"))
    untimed = message("orderbook", ts="0")
    assert isinstance(untimed, OrderBook)
    assert untimed.event_at == untimed.received_at


@pytest.mark.parametrize("kind", KINDS)
def test_read_when_a_kind_exists_then_its_example_is_readable(kind: str) -> None:
    assert not isinstance(message(kind), Unreadable)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("trades", "price", None),
        ("trades", "price", ""),
        ("trades", "price", "NaN"),
        ("trades", "price", "Infinity"),
        ("trades", "price", "0"),
        ("trades", "price", "-1"),
        ("trades", "price", " 1"),
        ("trades", "price", "1_000"),
        ("trades", "price", "٣"),
        ("trades", "price", "1e99"),
        ("trades", "price", "9" * 5000),
        ("trades", "size", "-0.1"),
        ("trades", "side", "BUY"),
        ("trades", "id", " "),
        ("trades", "id", "x" * 5000),
        ("trades", "venue", None),
        ("trades", "ts", "soon"),
        ("trades", "ts", "-1"),
        ("trades", "ts", "99999999999999999"),
        ("trades", "recv", "0"),
        ("trades", "seq", "1.5"),
        ("trades", "native", "three"),
        ("trades", "liquidation", "yes"),
        ("orderbook", "bids", None),
        ("orderbook", "bids", "[[1,2]]"),
        ("orderbook", "bids", '[["1"]]'),
        ("orderbook", "bids", '[["0","1"]]'),
        ("orderbook", "bids", '[["NaN","1"]]'),
        ("orderbook", "asks", '[["1","-1"]]'),
        ("orderbook", "asks", "[" * 100_000),
        ("orderbook", "asks", json.dumps([["1", "1"]] * 1001)),
        ("liquidations", "sampled", "yes"),
        ("funding", "next_ts", "never"),
        ("volatility", "kind", "swaption"),
        ("volatility", "mark_iv", "-5"),
        ("arbitrage", "net_bps", None),
        ("cross_venue", "difference_bps", '{"okx":0.1}'),
        ("cross_venue", "difference_bps", '{"okx":"NaN"}'),
        ("cross_venue", "latency_ms", "[]"),
        ("cross_venue", "skew_ms", None),
    ],
)
def test_read_when_a_field_is_not_as_agreed_then_names_it(kind: str, field: str, value: str | None) -> None:
    found = message(kind, **{field: value})
    assert isinstance(found, Unreadable)
    assert (found.field, found.channel, found.id) == (field, f"BTC-USDT:{kind}", "1772413323461-0")
    assert len(found.reason) < 300


@given(kind=st.sampled_from(KINDS), fields=st.dictionaries(st.sampled_from(
    sorted({name for fields in GOOD.values() for name in fields})), st.text(max_size=50)))  # fmt: skip
def test_read_when_fields_are_anything_then_nothing_is_raised(kind: str, fields: dict[str, str]) -> None:
    for entry in (fields, {**GOOD[kind], **fields}):
        found = read(kind, "x", "x", "1-0", entry)
        if isinstance(found, Trade):
            assert found.price > 0
            assert found.price == Decimal(entry["price"])


def test_channel_when_named_then_is_its_key_and_back() -> None:
    for name, key in (
        ("BTC-USD:trades", "trades:BTC-USD"),
        ("BTC-USD:orderbook", "orderbook:BTC-USD:snapshot"),
        ("BTC:volatility", "volatility:BTC"),
        ("BTC-27MAR26-100000-C:trades", "trades:BTC-27MAR26-100000-C"),
    ):
        found = channel(name)
        assert (found.name, found.key, channel_of_key(key)) == (name, key, found)
    assert [channel_of_key(key) for key in ("ticks:streams", "trades:", "nothing")] == [None, None, None]


@pytest.mark.parametrize(
    "name", ["", ":", ":trades", "BTC-USD", "BTC-USD:", "BTC-USD:Trades", "../x:trades", "a b:trades"]
)
def test_channel_when_it_is_none_then_says_so(name: str) -> None:
    with pytest.raises(UserError):
        channel(name)


def test_channels_when_the_registry_is_asked_then_each_kind_has_its_own_symbols() -> None:
    assert {"BTC-USD", "BTC-USDT-PERP"} <= set(listed("trades"))
    assert "BTC-USD" not in listed("funding")
    assert "BTC-USD-PERP" in listed("liquidations")
    assert listed("volatility") == ("BTC", "ETH")
    # One venue alone has no edge.
    assert "BTC-USDT" in listed("arbitrage")
    check_known([Channel("BTC-USD", "trades"), Channel("XRP-USD", "trades")], {"trades:XRP-USD"})
    with pytest.raises(UserError, match=r"no channel 'XRP-USD:trades'; trades has BTC-USD, .*, SOL-USD"):
        check_known([Channel("XRP-USD", "trades")], {"trades:SOL-USD", "funding:ADA-USD-PERP"})
    assert check_venues("okx") == {"okx"}
    with pytest.raises(UserError, match="no venue given"):
        check_venues([])
