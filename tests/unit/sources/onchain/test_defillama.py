"""DefiLlama: what of a whole history belongs to a window."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import ContractViolation
from coinswarm.sources.onchain import defillama
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.spec import Request
from coinswarm.timeframes import Window

pytestmark = pytest.mark.unit

DAY = timedelta(days=1)
START = datetime(2026, 11, 22, tzinfo=UTC)
WINDOW = Window(START, START + DAY)


def _tvl(body: bytes, request: Request | None = None) -> list[Record | Rejected]:
    request = request or Request("defillama", "tvl", "")
    return list(parse_payload(defillama.parse_tvl, body, request))


def _point(day: int, tvl: Any = 1) -> dict[str, Any]:
    return {"date": int((START + day * DAY).timestamp()), "tvl": tvl}


def _body(*points: dict[str, Any]) -> bytes:
    return json.dumps(points).encode()


def test_parse_when_whole_history_comes_then_window_and_look_back_only() -> None:
    (request, *_) = defillama.tvl_requests(None, WINDOW)
    records = _tvl(_body(*(_point(day) for day in range(-30, 3))), request)
    days = [record.event_at for record in records if isinstance(record, Record)]
    assert days == [START + day * DAY for day in range(-7, 1)]


def test_parse_when_newest_point_is_of_the_running_day_then_it_is_not_final() -> None:
    live = {"date": int((START + DAY).timestamp()) + 45_000, "tvl": 3}
    records = _tvl(_body(_point(0), _point(1), live))
    assert [record.final for record in records if isinstance(record, Record)] == [True, True, False]


def test_parse_when_numbers_are_long_then_every_digit_stays() -> None:
    body = _body(_point(0)).replace(b'"tvl": 1', b'"tvl": 123456789012345678.123456789012')
    (record,) = _tvl(body)
    assert isinstance(record, Record)
    assert record.values["tvl_usd"] == Decimal("123456789012345678.123456789012")


@pytest.mark.parametrize("tvl", [None, "abc", True, [], {}])
def test_parse_when_one_value_is_no_number_then_only_that_day_is_rejected(tvl: Any) -> None:
    outcomes = _tvl(_body(_point(-1), _point(0, tvl), _point(1)))
    assert [type(outcome) for outcome in outcomes] == [Record, Rejected, Record]


@pytest.mark.parametrize("date", [1795305600000, -1, 1.5, "soon", None])
def test_parse_when_date_is_no_second_of_our_time_then_rejected(date: Any) -> None:
    (outcome,) = _tvl(_body({"date": date, "tvl": 1}))
    assert isinstance(outcome, Rejected)
    assert outcome.field == "date"


@pytest.mark.parametrize("body", [b"", b"null", b'{"message": "Protocol not found"}', b"[{", b"[NaN]"])
def test_parse_when_body_is_no_history_then_contract_violation(body: bytes) -> None:
    with pytest.raises(ContractViolation, match="defillama/tvl"):
        _tvl(body)


def test_scope_when_request_names_a_chain_then_that_chain() -> None:
    requests = list(defillama.tvl_requests(None, WINDOW))
    scopes = []
    for request in requests:
        (record,) = _tvl(_body(_point(0)), request)
        assert isinstance(record, Record)
        scopes.append(record.values["scope"])
    assert scopes == ["all", *(f"chain:{chain}" for chain in defillama.CHAINS)]


def test_stablecoins_when_requested_then_each_symbol_asks_for_its_own_id() -> None:
    requests = {request.symbol: request for request in defillama.stablecoin_requests(None, WINDOW)}
    assert {symbol: dict(request.params) for symbol, request in requests.items()} == {
        "global": {},
        "USDT": {"stablecoin": 1},
        "USDC": {"stablecoin": 2},
    }


def test_stablecoins_when_other_pegs_are_in_the_total_then_only_dollars_count() -> None:
    row = {
        "date": str(int(START.timestamp())),
        "totalCirculating": {"peggedUSD": 10, "peggedEUR": 5},
        "totalCirculatingUSD": {"peggedUSD": 10.1, "peggedEUR": 6},
    }
    request = Request("defillama", "stablecoin_supply", "", symbol="global")
    (record,) = parse_payload(defillama.parse_stablecoin_supply, _body(row), request)
    assert isinstance(record, Record)
    assert record.values == {"circulating": Decimal(10), "circulating_usd": Decimal("10.1")}


_json = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["date", "tvl", "peggedUSD", "totalCirculating", "totalCirculatingUSD"]), inner, max_size=4
        )
    ),
    max_leaves=15,
)


@given(_json)
def test_parse_when_json_is_arbitrary_then_rows_rejections_or_a_violation(value: Any) -> None:
    body = json.dumps(value).encode()
    for dataset, parse in (("tvl", defillama.parse_tvl), ("stablecoin_supply", defillama.parse_stablecoin_supply)):
        try:
            outcomes = list(parse_payload(parse, body, Request("defillama", dataset, "")))
        except ContractViolation:
            continue
        assert all(isinstance(outcome, Record | Rejected) for outcome in outcomes)
