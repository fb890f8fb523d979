"""What goes to Redis is what any client would send."""

from __future__ import annotations

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.ticks.model import Trade
from coinswarm.ticks.resp import command, entry, recv_field, trade_encoder, trade_fields, wire

pytestmark = pytest.mark.unit

texts = st.text(max_size=100)
numbers = st.integers(-1, 2**63)
trades = st.builds(
    Trade,
    symbol=st.just("BTC-USD"),
    price=texts,
    size=texts,
    side=st.sampled_from(["buy", "sell"]) | texts,
    ts=numbers,
    id=texts | numbers.map(str),
    first=numbers,
    last=numbers,
    native=st.just("") | texts,
    liquidation=st.sampled_from([None, False, True]),
)


def _packed(*parts: str | int) -> bytes:
    return bytes(hiredis.pack_command(tuple(str(part).encode("utf-8", "surrogatepass") for part in parts)))


@given(st.lists(texts | numbers, min_size=1, max_size=8))
def test_command_is_what_hiredis_packs(parts: list[str | int]) -> None:
    assert wire([command(*parts)]) == _packed(*parts)


@given(trades, st.integers(0, 2**63))
def test_trade_encoder_makes_the_same_entry_as_the_general_way(trade: Trade, recv_ms: int) -> None:
    encoded = trade_encoder("trades:BTC-USD", "kraken")(trade, recv_field(recv_ms))
    fields = trade_fields(trade, "kraken", str(recv_ms))
    assert wire([encoded]) == wire([entry("trades:BTC-USD", fields)])
    assert wire([encoded]) == _packed(
        "XADD", "trades:BTC-USD", "*", *(part for pair in fields.items() for part in pair)
    )


@pytest.mark.parametrize(
    ("trade", "extra"),
    [
        (Trade("BTC-USD", "1.5", "2", "buy", 17, "9", 9, 9), {}),
        (Trade("BTC-USD", "1.5", "2", "buy", 17, "9", 7, 9), {"seq": "7"}),
        (Trade("BTC-USD", "1.5", "2", "buy", 17, "BTC-9", 9, 9), {"seq": "9"}),
        (Trade("BTC-USD", "1.5", "2", "buy", 17, "a-uuid", native="200"), {"native": "200"}),
        (Trade("BTC-USD", "1.5", "2", "buy", 17, "BTC-9", 9, 9, "200"), {"seq": "9", "native": "200"}),
        (Trade("BTC-USD", "1.5", "2", "buy", 17, "9", 9, 9, liquidation=False), {"liquidation": "0"}),
        (
            Trade("BTC-USD", "1.5", "2", "buy", 17, "BTC-9", 9, 9, "200", liquidation=True),
            {"seq": "9", "native": "200", "liquidation": "1"},
        ),
    ],
)
def test_trade_fields_name_what_is_not_always_there_where_they_say_something(
    trade: Trade, extra: dict[str, str]
) -> None:
    always = {"venue": "okx", "price": "1.5", "size": "2", "side": "buy", "ts": "17", "id": trade.id, "recv": "18"}
    assert trade_fields(trade, "okx", "18") == always | extra


def test_trade_with_line_ends_in_its_fields_stays_one_entry() -> None:
    trade = Trade("BTC-USD", "1\r\n*1\r\n$8\r\nFLUSHALL\r\n", "é", "buy", 1, "9", 9, 9)
    reader = hiredis.Reader(encoding="utf-8")
    reader.feed(wire([trade_encoder("trades:BTC-USD", "okx")(trade, recv_field(5))]))
    parsed = reader.gets()
    assert parsed[0] == "XADD"
    assert parsed[6] == trade.price
    assert parsed[8] == "é"
    assert reader.gets() is False
