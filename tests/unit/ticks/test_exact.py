"""Numbers as text, and native sizes in base units."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Raw

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.exact import (
    check_levels,
    positive,
    raw_optional,
    raw_optional_signed,
    raw_positive,
    signed,
    text_id,
    text_ms,
    unsigned,
)
from coinswarm.ticks.markets import Market, Markets
from coinswarm.ticks.model import Level, MalformedFrame

pytestmark = pytest.mark.unit

# Everything near a number that has ever fooled a parser.
almost = st.one_of(
    st.text(alphabet="0123456789.eE+-_ \u0660\u00b2nainf", max_size=8),
    st.decimals(allow_nan=False, allow_infinity=False, places=8).map(str),
    st.from_regex(r"\A[0-9]{1,20}(\.[0-9]{1,20})?\Z"),
)
PLAIN = re.compile(r"[0-9]+\.?[0-9]*|\.[0-9]+", re.ASCII)


@given(almost)
def test_unsigned_takes_plain_text_as_it_is_and_otherwise_only_what_has_an_exponent(text: str) -> None:
    try:
        taken = unsigned(text)
    except MalformedFrame:
        assert not PLAIN.fullmatch(text) or len(text) > 40
        return
    assert Decimal(taken) == Decimal(text) >= 0
    assert PLAIN.fullmatch(taken)
    assert taken == text or "e" in text.lower()


@given(almost)
@example(".00")
def test_positive_and_its_raw_form_take_the_same_and_never_zero(text: str) -> None:
    outcomes = []
    for read in (lambda: positive(text), lambda: raw_positive(Raw(text.encode()))):
        try:
            outcomes.append(read())
        except MalformedFrame:
            outcomes.append("")
    assert outcomes[0] == outcomes[1]
    if outcomes[0]:
        assert Decimal(outcomes[0]) > 0


@given(almost)
def test_signed_is_exact_and_plain(text: str) -> None:
    try:
        taken = signed(text)
    except MalformedFrame:
        return
    assert Decimal(taken) == Decimal(text)
    assert "e" not in taken.lower()


@given(st.lists(st.tuples(almost, almost), max_size=4))
def test_levels_are_taken_only_if_both_texts_of_each_are_plain_and_the_price_is_positive(levels: list[Level]) -> None:
    fine = all(PLAIN.fullmatch(text) and len(text) <= 40 for level in levels for text in level)
    fine = fine and all(Decimal(price) > 0 for price, _ in levels)
    if fine:
        check_levels(levels)
    else:
        with pytest.raises(MalformedFrame, match="level"):
            check_levels(levels)


def test_exponent_without_measure_is_refused_and_not_written_out() -> None:
    for text in ("1e999", "1e-999", "9E41"):
        with pytest.raises(MalformedFrame, match="proportion"):
            signed(text)
    assert (signed("0e999"), signed("-2.50e2"), unsigned("1.50E-3")) == ("0", "-250", "0.00150")


def test_missing_number_is_empty_and_a_text_is_none() -> None:
    assert [raw_optional(Raw(raw)) for raw in (b"", b"null", b"0.0")] == ["", "", "0.0"]
    assert raw_optional_signed(Raw(b"-1.5")) == "-1.5"
    for raw in (b'"1"', b"-1", b"[]", b"true", b'"\xff"'):
        with pytest.raises(MalformedFrame):
            raw_optional(Raw(raw))


@pytest.mark.parametrize("text", ["", "1.0", "-1", "x", "1" * 20, "\u0661"])
def test_times_and_ids_are_digits_of_bounded_length(text: str) -> None:
    for read in (text_ms, text_id):
        with pytest.raises(MalformedFrame):
            read(text)


SWAP = INSTRUMENTS.get("okx", "BTC-USDT-PERP")
positives = st.decimals("0.00000001", "99999999999", places=8).map(lambda number: f"{number:f}")


@given(positives, st.sampled_from(["0.01", "0.1", "10", "1", "0.0001"]))
def test_linear_contracts_in_base_units_are_exact(native: str, contract: str) -> None:
    market = Market(replace(SWAP, contract_size=Decimal(contract)), "X")
    for _ in range(2):  # the second time from memory
        assert Fraction(market.base(native, "1")) == Fraction(native) * Fraction(contract)


@given(positives, positives, st.sampled_from(["100", "10", "1"]))
def test_inverse_contracts_in_base_units_are_rounded_half_even_to_12_decimals(
    native: str, price: str, contract: str
) -> None:
    market = Market(replace(SWAP, contract_size=Decimal(contract), contract_unit="USD"), "X")
    exact = Fraction(native) * Fraction(contract) / Fraction(price)
    assert Fraction(market.base(native, price)) == Fraction(round(exact * 10**12), 10**12)


def test_inverse_contract_at_a_price_of_zero_is_refused() -> None:
    with pytest.raises(MalformedFrame, match="zero"):
        Market(replace(SWAP, contract_unit="USD"), "X").base("1", "0.0")


def test_unlisted_symbol_is_missing_and_open_markets_take_it_as_it_is() -> None:
    listed, anything = Markets.of([SWAP]), Markets.of(None)
    assert listed["BTC-USDT-SWAP"].symbol == "BTC-USDT-PERP"
    with pytest.raises(KeyError):
        listed["BTC-USD-220527"]
    market = anything["BTC-USD-220527"]
    assert (market.symbol, market.base("7", "3"), market.unit) == ("BTC-USD-220527", "7", True)
    for hostile in ("", "a b", "x" * 81, "trades:\n", "*"):
        with pytest.raises(KeyError):
            anything[hostile]


def test_open_markets_are_bounded() -> None:
    anything = Markets.of(None)
    for number in range(10_000):
        anything[f"S{number}"]
    with pytest.raises(KeyError):
        anything["one-more"]
    assert anything["S1"].symbol == "S1"
