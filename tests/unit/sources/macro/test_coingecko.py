"""CoinGecko: shares of the total, names that are not identities, and bodies that are something else."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import ContractViolation
from coinswarm.sources.macro import coingecko
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.spec import Request
from coinswarm.timeframes import Window

pytestmark = pytest.mark.unit


def _parse(value: Any, **about: str) -> list[Record | Rejected]:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return list(parse_payload(coingecko.parse_market_caps, body, Request("coingecko", "market_caps", "", **about)))


def _global(**changes: Any) -> dict[str, Any]:
    data = {
        "total_market_cap": {"usd": 2500000000000.25},
        "total_volume": {"usd": 95000000000.125},
        "market_cap_percentage": {"btc": 60.5, "eth": 10.25},
        "updated_at": 1795435805,
    }
    return {"data": {**data, **changes}}


def _coin(**changes: Any) -> dict[str, Any]:
    coin = {"id": "bitcoin", "symbol": "btc", "current_price": 77671.5, "market_cap": 1555886872303}
    return {**coin, "total_volume": 5, "last_updated": "2026-11-23T12:09:21.599Z", **changes}


def test_requests_when_asked_then_totals_and_listed_coins_by_id() -> None:
    start = datetime(2026, 11, 23, 12, tzinfo=UTC)
    totals, coins = coingecko.market_cap_requests(None, Window(start, start + timedelta(minutes=15)))
    assert totals.endpoint == "https://api.coingecko.com/api/v3/global"
    assert coins.params["ids"] == ",".join(coingecko.COINS)
    assert len(coingecko.COINS) <= 250 == coins.params["per_page"]


def test_global_when_read_then_total_and_exact_shares() -> None:
    total, bitcoin, ether = (record for record in _parse(_global()) if isinstance(record, Record))
    assert (total.symbol, total.values["market_cap_usd"]) == ("global", Decimal("2500000000000.25"))
    assert bitcoin.values == {"market_cap_usd": Decimal("1512500000000.15125"), "dominance_pct": Decimal("60.5")}
    assert ether.symbol == "ETH"
    assert {record.event_at for record in (total, bitcoin, ether)} == {datetime.fromtimestamp(1795435805, UTC)}


def test_global_when_one_share_is_bad_then_the_others_stay() -> None:
    outcomes = _parse(_global(market_cap_percentage={"btc": None, "eth": 10, "../x": 1, "sol": "1e-60"}))
    assert [type(outcome) for outcome in outcomes] == [Record, Rejected, Record, Rejected, Rejected]


def test_global_when_dollar_total_is_missing_then_everything_is_rejected() -> None:
    outcomes = _parse(_global(total_market_cap={"eur": 1}))
    assert {type(outcome) for outcome in outcomes} == {Rejected}


def test_markets_when_another_coin_takes_a_ticker_then_rejected() -> None:
    known, other, unknown = _parse([_coin(), _coin(id="batcat"), _coin(id="pepe", symbol="pepe")])
    assert isinstance(known, Record)
    assert isinstance(other, Rejected)
    assert "another coin" in other.reason
    assert isinstance(unknown, Record)
    assert unknown.symbol == "PEPE"


@pytest.mark.parametrize(
    "changes",
    [
        {"market_cap": None},
        {"last_updated": "yesterday"},
        {"symbol": 5, "id": "x"},
        {"id": None},
        {"market_cap": "NaN"},
    ],
)
def test_markets_when_one_row_is_bad_then_the_others_stay(changes: dict[str, Any]) -> None:
    outcomes = _parse([_coin(), _coin(**changes)])
    assert [type(outcome) for outcome in outcomes] == [Record, Rejected]


def test_chart_when_read_then_price_and_volume_of_the_same_moment() -> None:
    chart = {
        "market_caps": [[1779027899041, 10], [1779028199661, 11]],
        "prices": [[1779027899041, 1.5]],
        "total_volumes": [[1779028199661, 3]],
    }
    first, last = _parse(chart, symbol="BTC")
    assert isinstance(first, Record)
    assert isinstance(last, Record)
    assert first.values == {"market_cap_usd": Decimal(10), "volume_24h_usd": None, "price_usd": Decimal("1.5")}
    assert last.values == {"market_cap_usd": Decimal(11), "volume_24h_usd": Decimal(3), "price_usd": None}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"{}",
        b'{"status": {"error_code": 429}}',
        b'{"data": 5}',
        b'{"market_caps": 5}',
        b'{"a": {"usd": 1}}',
    ],
)
def test_body_when_it_is_something_else_then_contract_violation(body: bytes) -> None:
    with pytest.raises(ContractViolation, match="coingecko/market_caps"):
        _parse(body)


_keys = st.sampled_from(
    [
        *(
            "data",
            "updated_at",
            "total_market_cap",
            "market_cap_percentage",
            "usd",
            "btc",
            "id",
            "symbol",
            "market_caps",
        ),
        *("prices", "total_volumes", "last_updated", "market_cap", "market_cap_chart", "usd_market_cap", "bitcoin"),
    ]
)
_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_keys, inner, max_size=5),
    max_leaves=20,
)


@given(_json)
def test_body_when_json_is_arbitrary_then_rows_rejections_or_a_violation(value: Any) -> None:
    try:
        outcomes = _parse(value)
    except ContractViolation:
        return
    assert all(isinstance(outcome, Record | Rejected) for outcome in outcomes)


@given(st.decimals(min_value="1e-5", max_value="1e20", places=18), st.decimals(min_value=0, max_value=100, places=16))
def test_global_when_numbers_are_long_then_the_product_is_exact(total: Decimal, share: Decimal) -> None:
    data = f'"total_market_cap": {{"usd": {total:f}}}, "market_cap_percentage": {{"btc": {share:f}}}'
    body = f'{{"data": {{{data}, "updated_at": 1795435805}}}}'
    outcomes = _parse(body.encode())
    if isinstance(outcomes[1], Record):
        part = outcomes[1].values["market_cap_usd"]
        assert Fraction(part) == Fraction(total) * Fraction(share) / 100
