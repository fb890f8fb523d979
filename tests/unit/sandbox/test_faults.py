"""Faults: what matches, how often, and what is left of the body."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from coinswarm.sandbox.application import Sandbox
from coinswarm.sandbox.faults import Fault, spoil
from coinswarm.sandbox.protocol import Call, Clock, Reply
from coinswarm.sandbox.server import build

pytestmark = pytest.mark.unit

KLINES = Call("api.binance.com", "/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1h", "limit": "3"})
TIME = Call("api.binance.com", "/api/v3/time")


def sandbox(*faults: Fault) -> Sandbox:
    return build("simulate", clock=Clock(datetime(2026, 3, 4, tzinfo=UTC)), faults=faults)


def control(target: Sandbox, method: str, path: str, body: object = None) -> tuple[int, Any]:
    content = b"" if body is None else json.dumps(body).encode()
    reply, _ = target.answer(Call("_control", path, method=method, body=content))
    return reply.status, json.loads(reply.body)


def test_fault_when_counted_then_it_strikes_that_often_and_only_where_it_matches() -> None:
    target = sandbox(Fault("rate_limit", host="*.binance.com", path="*/klines", count=2, retry_after=7))
    assert target.answer(TIME)[0].status == 200
    replies = [target.answer(KLINES)[0] for _ in range(3)]
    assert [reply.status for reply in replies] == [429, 429, 200]
    assert replies[0].headers["Retry-After"] == "7"


def test_fault_when_probable_then_a_seed_repeats_it() -> None:
    def statuses() -> list[int]:
        target = sandbox(Fault("server_error", probability=0.3))
        return [target.answer(TIME)[0].status for _ in range(200)]

    first = statuses()
    assert first == statuses()
    assert 30 < first.count(503) < 90


def test_fault_when_empty_then_the_rows_are_gone_and_the_envelope_stays() -> None:
    fault = Fault("empty")
    assert spoil(Reply(b'[{"a":1},{"a":2}]'), fault).body == b"[]"
    assert json.loads(spoil(Reply(b'{"code":"0","data":[["1"],["2"]]}'), fault).body) == {"code": "0", "data": []}
    chart = {"result": {"ticks": [1, 2], "open": [3, 4], "status": "ok"}}
    emptied = json.loads(spoil(Reply(json.dumps(chart).encode()), fault).body)
    assert emptied == {"result": {"ticks": [], "open": [], "status": "ok"}}
    assert spoil(Reply(b"date,value\n2026-01-01,5\n"), fault).body == b"date,value\n"


def test_fault_when_types_are_wrong_then_the_first_row_differs_only() -> None:
    rows = json.loads(spoil(Reply(b'[[1,"2"],[3,"4"]]'), Fault("wrong_types")).body)
    assert rows == [["not-a-number", {"unexpected": "2"}], [3, "4"]]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "meteor"},
        {"kind": "hang", "colour": "red"},
        {"kind": "status", "status": 99},
        {"kind": "hang", "probability": 2},
        {},
    ],
)
def test_control_when_a_rule_is_wrong_then_400_says_why(fields: dict[str, object]) -> None:
    status, body = control(sandbox(), "POST", "/faults", fields)
    assert status == 400
    assert body["error"]


def test_control_when_asked_then_it_counts_by_host_and_path() -> None:
    target = sandbox()
    control(target, "POST", "/faults", [{"kind": "server_error", "path": "*/time", "count": 1}])
    for call in (KLINES, KLINES, TIME):
        target.answer(call)
    _, state = control(target, "GET", "/state")
    assert state["requests"] == {"api.binance.com/api/v3/klines": 2, "api.binance.com/api/v3/time": 1}
    assert state["struck"] == {"server_error api.binance.com/api/v3/time": 1}
    assert state["total"] == 3
    control(target, "DELETE", "/state")
    control(target, "DELETE", "/faults")
    _, state = control(target, "GET", "/state")
    assert (state["total"], state["faults"]) == (0, [])


def test_control_when_a_bar_is_revised_then_it_is_served_so_from_then_on() -> None:
    target = sandbox()
    before = json.loads(target.answer(KLINES)[0].body)
    revision = {
        "venue": "binance",
        "market": "spot",
        "symbol": "BTCUSDT",
        "minutes": 60,
        "at": before[0][0],
        "field": "close",
        "value": before[0][3],
    }
    assert control(target, "POST", "/revise", revision) == (200, {"revisions": 1})
    after = json.loads(target.answer(KLINES)[0].body)
    assert after[0][4] == before[0][3]
    assert [row[:4] for row in after] == [row[:4] for row in before]
    control(target, "DELETE", "/revise")
    assert json.loads(target.answer(KLINES)[0].body) == before


@pytest.mark.parametrize(
    "change", [{"symbol": "NOPE"}, {"at": "2026-03-04T00:00:00"}, {"value": "inf"}, {"minutes": "x"}]
)
def test_control_when_a_revision_is_wrong_then_400(change: dict[str, object]) -> None:
    good = {"venue": "binance", "market": "spot", "symbol": "BTCUSDT", "minutes": 60, "at": 0, "field": "close"}
    assert control(sandbox(), "POST", "/revise", {**good, **change})[0] == 400


def test_control_when_the_clock_is_set_then_now_is_there() -> None:
    target = sandbox()
    assert control(target, "POST", "/clock", {"now": "2025-01-01T00:00:00+00:00"})[1] == {"now_ms": 1735689600000}
    assert json.loads(target.answer(TIME)[0].body) == {"serverTime": 1735689600000}


def test_control_when_the_call_is_unknown_then_404_lists_the_known() -> None:
    status, body = control(sandbox(), "GET", "/nothing")
    assert status == 404
    assert "/_control/state" in body["error"]
