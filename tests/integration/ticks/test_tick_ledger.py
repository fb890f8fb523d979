"""Sessions, gaps and verdicts in PostgreSQL, also when it is away for a while."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from tests.conftest import Warehouse
from tests.integration.ticks.exchange import Exchange
from tests.integration.ticks.pumps import QUICK, client, length, pumping, resolver, until

from coinswarm.connections import Connection
from coinswarm.storage import database
from coinswarm.ticks.gaps import Gap, GapReason
from coinswarm.ticks.ledger import GapNote, Ledger, SessionEvent, at
from coinswarm.ticks.pump import PumpState
from coinswarm.ticks.verdicts import MinuteVerdict, Verdict

pytestmark = pytest.mark.integration

MINUTE = 1_760_000_040_000


def _rows(warehouse: Warehouse, statement: str, *values: object) -> list[tuple[object, ...]]:
    with database.connect(warehouse.auditor) as connection:
        return connection.execute(statement, values).fetchall()


def _wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _verdict(events: int, minute_ms: int = MINUTE, symbol: str = "BTC-USDT") -> MinuteVerdict:
    return MinuteVerdict("okx", symbol, "trades", minute_ms, Verdict.SUSPECT, events, 1, ("hole",))


def test_ledger_writes_all_three_kinds_as_role_ingest(warehouse: Warehouse) -> None:
    session = uuid4()
    ledger = Ledger(warehouse.ingest, session)
    ledger.start()
    ledger.session(SessionEvent("okx", "me", 3, "live", "", at(MINUTE), {"entries": 5}))
    gap = Gap(uuid4(), 1, "okx", "BTC-USDT", "trades", GapReason.DISCONNECT, MINUTE, detail={"why": "broke"})
    ledger.gap(gap)
    ledger.gap(replace(gap, revision=2, closed_ms=MINUTE + 5, first_missing="7", last_missing="9", missing=3))
    ledger.verdict(_verdict(10))
    ledger.verdict(_verdict(11))
    assert ledger.close(30)
    assert ledger.written == 5
    (event,) = _rows(
        warehouse,
        "SELECT shard, owner, fencing_token, state, counters FROM ops.stream_sessions WHERE session_id = %s",
        session,
    )
    assert event == ("okx", "me", 3, "live", {"entries": 5})
    (hole,) = _rows(
        warehouse,
        """SELECT revision, state, reason, missing_count, first_missing, detail FROM ops.stream_gaps_current
        WHERE session_id = %s""",
        session,
    )
    assert hole == (2, "open", "disconnect", 3, "7", {"why": "broke"})
    (verdict,) = _rows(
        warehouse,
        "SELECT minute, verdict, events, gaps, detail FROM ops.stream_verdicts_current WHERE session_id = %s",
        session,
    )
    assert verdict == (at(MINUTE), "suspect", 11, 1, {"troubles": ["hole"]})


def test_ledger_keeps_rows_while_postgres_is_away(warehouse: Warehouse) -> None:
    known = warehouse.ingest
    away = replace(known, port=1)
    ledger = Ledger(away, uuid4())
    ledger.start()
    ledger.verdict(_verdict(1, symbol="AWAY"))
    _wait(lambda: ledger.failures >= 2)
    ledger._connection = known
    _wait(lambda: ledger.written == 1)
    assert ledger.close(5)
    assert _rows(warehouse, "SELECT events FROM ops.stream_verdicts WHERE symbol = 'AWAY'") == [(1,)]


def test_gap_when_the_pump_ends_before_postgres_knows_of_it_then_the_next_pump_tells_it(
    exchange: Exchange, empty_redis: Connection, warehouse: Warehouse
) -> None:
    settings = replace(QUICK, ledger_connection="pg_ingest")
    gaps = "SELECT first_missing, last_missing, state FROM ops.stream_gaps_current WHERE reason = 'sequence'"
    gaps += " AND symbol = 'BTC-USDT' AND venue = 'binance'"

    async def scenario() -> None:
        away = resolver(exchange.url, empty_redis, replace(warehouse.ingest, port=1))
        async with pumping(away, settings):
            await until(lambda: exchange.listeners)
            await asyncio.to_thread(exchange.trade, 3)
            await asyncio.to_thread(exchange.trade, 4, hidden=True)
            await asyncio.to_thread(exchange.trade, 1)
            await until(lambda: length(empty_redis) == 4)
        assert _rows(warehouse, gaps) == []
        async with pumping(resolver(exchange.url, empty_redis, warehouse.ingest), settings):
            await until(lambda: _rows(warehouse, gaps))
            with client(empty_redis) as redis_client:
                await until(lambda: not redis_client.exists("ticks:gaps:binance_spot"))
        assert _rows(warehouse, gaps) == [("4", "7", "open")]

    asyncio.run(scenario())


def test_gap_note_that_cannot_be_read_is_not_kept_for_ever(warehouse: Warehouse) -> None:
    ledger = Ledger(warehouse.ingest, uuid4())
    for number, text in enumerate(("no JSON", "{}", "[1]")):
        ledger.repeat(GapNote(str(number), text))
    ledger.repeat(GapNote("no uuid:0", json.dumps(["no uuid", *range(14)])))
    ledger.start()
    assert ledger.close(30)
    assert ledger.settled() == ["0", "1", "2", "no uuid:0"]


def test_ledger_that_is_full_drops_verdicts_before_gaps_and_counts_them(warehouse: Warehouse) -> None:
    ledger = Ledger(replace(warehouse.ingest, port=1), uuid4(), limit=700)
    ledger.start()
    gap = Gap(uuid4(), 1, "okx", "FULL", "trades", GapReason.SEQUENCE, MINUTE)
    for number in range(600):
        ledger.verdict(_verdict(number, MINUTE + number * 60_000, symbol="FULL"))
        ledger.gap(replace(gap, gap_id=uuid4()))
    assert (ledger.waiting, ledger.dropped) == (700, 500)
    ledger._connection = warehouse.ingest
    _wait(lambda: not ledger.waiting)
    assert ledger.close(5)
    assert _rows(warehouse, "SELECT count(*) FROM ops.stream_gaps WHERE symbol = 'FULL'")[0][0] >= 450


def test_row_that_the_store_refuses_does_not_hold_up_the_others(warehouse: Warehouse) -> None:
    ledger = Ledger(warehouse.ingest, uuid4())
    ledger.verdict(_verdict(1, symbol="GOOD1"))
    ledger.verdict(_verdict(-1, symbol="BAD"))
    ledger.verdict(_verdict(2, symbol="GOOD2"))
    ledger.start()
    assert ledger.close(30)
    assert (ledger.written, ledger.dropped) == (2, 1)
    found = _rows(warehouse, "SELECT symbol FROM ops.stream_verdicts WHERE symbol ~ 'GOOD|BAD' ORDER BY 1")
    assert found == [("GOOD1",), ("GOOD2",)]


def test_pump_records_its_session_its_gaps_and_hands_its_minute_over(
    exchange: Exchange, empty_redis: Connection, empty_warehouse: Warehouse
) -> None:
    resolve = resolver(exchange.url, empty_redis, empty_warehouse.ingest)
    settings = replace(QUICK, ledger_connection="pg_ingest")

    async def scenario() -> str:
        async with pumping(resolve, settings) as followed:
            await until(lambda: exchange.listeners)
            await asyncio.to_thread(exchange.trade, 3)
            await asyncio.to_thread(exchange.trade, 2, hidden=True)
            await asyncio.to_thread(exchange.trade, 1)
            await until(lambda: length(empty_redis) == 4)
            return str(followed.pump.session_id)

    session = asyncio.run(scenario())
    states = _rows(
        empty_warehouse,
        "SELECT state, fencing_token FROM ops.stream_sessions WHERE session_id = %s ORDER BY at",
        session,
    )
    assert states == [("started", 0), ("live", 1), ("ended", 1)]
    gaps = _rows(
        empty_warehouse,
        """SELECT channel, reason, first_missing, last_missing, missing_count FROM ops.stream_gaps_current
        WHERE session_id = %s AND channel = 'trades'""",
        session,
    )
    assert gaps == [("trades", "sequence", "4", "5", 2)]


def test_pump_whose_redis_has_lost_all_finds_in_the_ledger_since_when_nobody_has_listened(
    exchange: Exchange, empty_redis: Connection, empty_warehouse: Warehouse
) -> None:
    minute_ms = time.time_ns() // 60_000_000_000 * 60_000 - 20 * 60_000
    ledger = Ledger(empty_warehouse.ingest, uuid4())
    ledger.start()
    for minute in (minute_ms - 60_000, minute_ms):
        ledger.verdict(replace(_verdict(1, minute), venue="binance"))
    assert ledger.close(30)

    async def scenario() -> None:
        told: list[Gap] = []
        settings = replace(QUICK, ledger_connection="pg_ingest")
        resolve = resolver(exchange.url, empty_redis, empty_warehouse.ingest)
        async with pumping(resolve, settings, live=False) as followed:
            await until(lambda: bool(followed.states), "its start")
            followed.pump._gaps._tell = told.append
            await followed.reach(PumpState.LIVE)
        (gap,) = [gap for gap in told if gap.symbol == "BTC-USDT" and gap.channel == "trades" and gap.revision == 1]
        assert (gap.reason, gap.opened_ms) == ("crash", minute_ms + 60_000)

    asyncio.run(scenario())
