"""Binance names quarterly contracts by `CURRENT_QUARTER`: the row's time tells which one that was."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from coinswarm.datasets.records import Record, Rejected
from coinswarm.sources.exchanges.binance import parse_open_interest
from coinswarm.sources.spec import Request

pytestmark = pytest.mark.unit


def parsed(at: datetime, contract: str) -> Record | Rejected:
    row = {
        "contractType": contract,
        "pair": "BTCUSD",
        "sumOpenInterest": "10",
        "sumOpenInterestValue": "0.1",
        "timestamp": int(at.timestamp() * 1000),
    }
    request = Request(source="binance", dataset="open_interest", endpoint="")
    (outcome,) = parse_open_interest(msgspec.json.encode([row]), request)
    return outcome


@pytest.mark.parametrize(
    ("at", "contract", "symbol"),
    [
        (datetime(2020, 10, 18, tzinfo=UTC), "CURRENT_QUARTER", "BTC-25DEC20"),
        (datetime(2020, 10, 18, tzinfo=UTC), "NEXT_QUARTER", "BTC-26MAR21"),
        (datetime(2020, 12, 25, 7, 59, tzinfo=UTC), "CURRENT_QUARTER", "BTC-25DEC20"),
        (datetime(2020, 12, 25, 8, 0, tzinfo=UTC), "CURRENT_QUARTER", "BTC-26MAR21"),
        (datetime(2021, 12, 31, 9, 0, tzinfo=UTC), "CURRENT_QUARTER", "BTC-25MAR22"),
    ],
)
def test_open_interest_when_contract_is_quarterly_then_expiry_follows_from_its_time(
    at: datetime, contract: str, symbol: str
) -> None:
    record = parsed(at, contract)
    assert isinstance(record, Record)
    assert record.symbol == symbol


def test_open_interest_when_contract_type_is_unknown_then_the_row_is_rejected() -> None:
    rejected = parsed(datetime(2020, 10, 18, tzinfo=UTC), "LAST_QUARTER")
    assert isinstance(rejected, Rejected)
    assert "does not tell the expiry" in rejected.reason
