"""Holes in the trades: fetched again by number or time, published once, counted; what does not come back stays open."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.integration.conftest import Store
from tests.integration.ingest.history_server import HistoryServer, running
from tests.integration.ingest.ticks import MINUTE, Ticks, milliseconds, recent_minute, trade, trades

from coinswarm.connections import Connection, Resolver
from coinswarm.errors import GateFailed, UserError
from coinswarm.ingest import repair as repairing
from coinswarm.ingest.archive import archive
from coinswarm.ingest.gaps import Gap, gap_id_of, open_gap
from coinswarm.ingest.repair import repair
from coinswarm.ingest.requested_trades import request_trades
from coinswarm.quality import gate as gating
from coinswarm.quality.gate import GateReport
from coinswarm.storage import database, ledger
from coinswarm.storage.lake import Lake
from coinswarm.timeframes import Window

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[Any, ...]]]
START = recent_minute(40)


@pytest.fixture
def venue() -> Iterator[HistoryServer]:
    with running() as server:
        yield server


@pytest.fixture
def resolve(ticks: Ticks, store: Store, venue: HistoryServer) -> Resolver:
    known = store.resolver(venue.url)
    return lambda conn_id: known(conn_id) if conn_id.startswith("http_") else ticks.resolve(conn_id)


@pytest.fixture(autouse=True)
def _empty_streams(ticks: Ticks) -> None:
    client = ticks.redis
    for key in client.scan_iter():
        client.delete(key)


def gap(
    symbol: str, first: int | None, last: int | None, *, venue: str = "binance", minute: int = 0, **fields: Any
) -> Gap:
    known = {
        "gap_id": gap_id_of(venue, symbol, str(first), str(minute)),
        "revision": 1,
        "venue": venue,
        "symbol": symbol,
        "channel": "trades",
        "state": "open",
        "reason": "sequence",
        "opened_at": START + minute * MINUTE,
        "closed_at": START + minute * MINUTE + timedelta(seconds=20),
        "first_missing": None if first is None else str(first),
        "last_missing": None if last is None else str(last),
        "missing": None if first is None or last is None else last - first + 1,
        "repaired": 0,
    }
    return Gap(**known | fields)


def opened(store: Store, *gaps: Gap) -> None:
    with database.connect(store.warehouse.ingest, autocommit=True) as connection:
        for one in gaps:
            open_gap(connection, one)


def aggregates(first: int, last: int, start: datetime) -> Callable[[dict[str, str]], Any]:
    def answer(params: dict[str, str]) -> Any:
        asked = max(int(params["fromId"]), first)
        return [
            {"a": n, "p": "60000.10", "q": "0.00100", "f": n, "l": n, "T": milliseconds(start) + n - first, "m": False}
            for n in range(asked, min(last, asked + int(params["limit"]) - 1) + 1)
        ]

    return answer


CURRENT = (
    "SELECT state, revision, missing_count, repaired_count, detail ->> 'unrepairable' FROM ops.stream_gaps_current"
    " WHERE gap_id = %s"
)


def test_repair_when_the_venue_has_the_trades_then_raw_bar_gap_and_verdict_are_whole(
    store: Store, ticks: Ticks, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    symbol = "BTC-USDT-PERP"
    step = timedelta(milliseconds=1)
    ticks.write(f"trades:{symbol}", *trades([1, 2, 3, *range(2504, 2510)], START, step))
    archive(ticks.resolve)
    with database.connect(store.warehouse.ingest, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ops.stream_verdicts (venue, symbol, channel, minute, verdict, events)"
            " VALUES ('binance', %s, 'trades', %s, 'verified', 9)",
            [symbol, START],
        )
    hole = gap(symbol, 4, 2503)
    opened(store, hole)
    verdicts = "SELECT verdict, gaps FROM ops.stream_verdicts WHERE symbol = %s ORDER BY recorded_at"
    assert query(verdicts, symbol) == [("verified", 0), ("suspect", 1)]

    venue.answers["/fapi/v1/aggTrades"] = aggregates(1, 10_000, START)
    done = repair(resolve)
    assert (done.looked_at, done.repaired, done.trades, done.errors) == (1, 1, 2_500, [])
    # Pages of a thousand, from the first number that is missing.
    assert [params["fromId"] for _, params in venue.asked] == ["4", "1004", "2004"]
    assert query(CURRENT, hole.gap_id) == [("repaired", 2, 2_500, 2_500, None)]
    assert query(verdicts, symbol)[2:] == [("verified", 0)]
    rows = query(
        "SELECT count(*), count(DISTINCT trade_id), min(trade_id::int), max(trade_id::int) FROM raw.trades"
        " WHERE symbol = %s",
        symbol,
    )
    assert rows == [(2_509, 2_509, 1, 2_509)]
    bars = query("SELECT trade_count FROM raw.trade_bars WHERE symbol = %s ORDER BY known_at", symbol)
    assert bars == [(9,), (2_509,)]
    feed = "SELECT feed, count(*) FROM ops.batches WHERE dataset = 'trades' GROUP BY 1 ORDER BY 1"
    assert query(feed) == [("trades_repair", 1), ("trades_stream", 1)]
    landed = query(
        "SELECT count(*), min(request ->> 'endpoint') FROM ops.lake_objects WHERE object_key LIKE '%%trades_repair%%'"
    )
    assert landed == [(3, "fapiPublicGetAggTrades")]
    # The same trade from either way is the same revision.
    ticks.write(f"trades:{symbol}", trade(4, START, ts=milliseconds(START) + 3))
    assert archive(ticks.resolve).unchanged == 1
    assert repair(resolve).looked_at == 0
    with database.connect(store.warehouse.auditor) as connection:
        ledger.verify(connection, lake=Lake(store.lake))


def test_repair_when_some_do_not_come_back_then_the_gap_stays_with_counts_and_is_asked_again(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    hole = gap("ETH-USDT-PERP", 11, 20, minute=1)
    opened(store, hole)
    venue.answers["/fapi/v1/aggTrades"] = aggregates(15, 30, hole.opened_at)
    done = repair(resolve)
    assert (done.partly, done.trades) == (1, 6)
    reason = "binance does not have them"
    assert query(CURRENT, hole.gap_id) == [("partly_repaired", 2, 10, 6, reason)]
    venue.answers["/fapi/v1/aggTrades"] = aggregates(11, 30, hole.opened_at)
    assert (repair(resolve).repaired, repair(resolve).looked_at) == (1, 0)
    assert query(CURRENT, hole.gap_id) == [("repaired", 3, 10, 10, reason)]


def test_repair_when_the_venue_never_has_them_then_stops_asking(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    hole = gap("ETH-USDT-PERP", 31, 32, minute=11)
    opened(store, hole)
    venue.answers["/fapi/v1/aggTrades"] = aggregates(40, 50, hole.opened_at)
    assert [repair(resolve).left for _ in range(4)] == [1, 1, 1, 0]
    assert len(venue.asked) == 3
    assert query(CURRENT, hole.gap_id) == [("open", 4, 2, 0, "binance does not have them")]


def test_repair_when_the_trades_came_late_by_themselves_then_closes_without_asking(
    store: Store, ticks: Ticks, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    hole = gap("ETH-USDT", 101, 103, minute=2)
    opened(store, hole)
    ticks.write("trades:ETH-USDT", *trades(range(101, 104), hole.opened_at))
    archive(ticks.resolve)
    assert repair(resolve).repaired == 1
    assert venue.asked == []
    assert query(CURRENT, hole.gap_id) == [("repaired", 2, 3, 3, None)]


def test_repair_when_spot_of_binance_then_asks_single_trades_by_number_without_a_key(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    hole = gap("BTC-USDT", 201, 202, minute=3)
    opened(store, hole)
    at = milliseconds(hole.opened_at)
    venue.answers["/api.binance.com/api/v3/historicalTrades"] = lambda params: [
        {
            "id": n,
            "price": "60000.1",
            "qty": "0.5",
            "quoteQty": "30000.05",
            "time": at,
            "isBuyerMaker": True,
            "isBestMatch": True,
        }
        for n in range(int(params["fromId"]), int(params["fromId"]) + 3)
    ]
    assert repair(resolve).repaired == 1
    columns = "trade_id, trade_kind, side, size_base"
    rows = query(f"SELECT {columns} FROM raw.trades WHERE symbol = 'BTC-USDT' AND source = 'binance' ORDER BY 1")
    # Beyond the hole nothing is taken.
    assert rows == [("201", "trade", "sell", Decimal("0.5")), ("202", "trade", "sell", Decimal("0.5"))]


def test_repair_when_a_venue_has_no_numbers_then_time_and_reach_decide(
    store: Store, ticks: Ticks, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    hole = gap("BTC-USDT", None, None, venue="bybit", minute=4)
    late = gap("ETH-USDT-PERP", None, None, venue="bybit", minute=-10)
    opened(store, hole, late)
    at = hole.opened_at
    ticks.write("trades:BTC-USDT", trade("known", at, venue="bybit"), trade("x", at + MINUTE, venue="bybit"))
    archive(ticks.resolve)

    def recent(params: dict[str, str]) -> Any:
        times = {"before": at - MINUTE, "known": at, "lost": at + timedelta(seconds=1), "after": at + MINUTE}
        return {"retCode": 0, "retMsg": "OK", "time": milliseconds(at + MINUTE), "result": {
            "category": params["category"], "list": [
                {"execId": name, "symbol": params["symbol"], "price": "60000.10", "size": "0.00100", "side": "Buy",
                 "time": str(milliseconds(moment))} for name, moment in reversed(times.items())]}}  # fmt: skip

    venue.answers["/v5/market/recent-trade"] = recent
    done = repair(resolve)
    assert (done.repaired, done.left, done.trades) == (1, 1, 1)
    assert query(CURRENT, hole.gap_id) == [("repaired", 2, 1, 1, None)]
    ((state, _, missing, repaired, reason),) = query(CURRENT, late.gap_id)
    assert (state, missing, repaired) == ("open", None, 0)
    assert reason.startswith("bybit goes back to ")
    ids = query("SELECT trade_id FROM raw.trades WHERE source = 'bybit' AND symbol = 'BTC-USDT' ORDER BY 1")
    assert ids == [("known",), ("lost",), ("x",)]


def test_repair_when_only_the_live_feed_has_numbers_then_they_say_whether_all_came_back(
    store: Store, ticks: Ticks, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    # The connection was lost while its trades came half a minute late: by our clock the gap begins after its end.
    at = START + 14 * MINUTE
    late = {"opened_at": at + timedelta(seconds=30), "closed_at": at + timedelta(seconds=31)}
    hole = gap("BTC-USD-PERP", 12, 14, venue="kraken", minute=14, **late)
    around = [trade(f"live-{n}", at + n * timedelta(milliseconds=10), venue="kraken", seq=n) for n in (11, 15)]
    ticks.write("trades:BTC-USD-PERP", *around)
    archive(ticks.resolve)
    opened(store, hole)

    def history(*numbers: int) -> Callable[[dict[str, str]], Any]:
        rows = [
            {"time": f"{at + n * timedelta(milliseconds=10):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z", "uid": f"past-{n}",
             "trade_id": 1, "price": 60000, "size": 0.001, "side": "buy", "type": "fill"}
            for n in (*reversed(numbers), -90_000)
        ]  # fmt: skip
        return lambda params: {"result": "success", "history": rows, "serverTime": rows[0]["time"]}

    venue.answers["/derivatives/api/v3/history"] = history(12, 14)
    assert (repair(resolve).trades, query(CURRENT, hole.gap_id)) == (
        2,
        [("partly_repaired", 2, 3, 2, "kraken does not have them")],
    )
    whole = gap("BTC-USD-PERP", 16, 17, venue="kraken", minute=15)
    at = START + 15 * MINUTE
    ticks.write("trades:BTC-USD-PERP", trade("live-18", at + timedelta(seconds=1), venue="kraken", seq=18))
    archive(ticks.resolve)
    opened(store, whole)
    venue.answers["/derivatives/api/v3/history"] = history(16, 17)
    assert (repair(resolve).repaired, query(CURRENT, whole.gap_id)) == (1, [("repaired", 2, 2, 2, None)])


def test_repair_when_a_venue_does_not_answer_then_the_others_are_repaired_and_it_is_left_for_later(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    holes = [gap("BTC-USDT-PERP", 901, 902, venue="okx", minute=5), gap("BTC-USDT-PERP", 5_001, 5_001, minute=6)]
    opened(store, *holes)
    venue.answers["/fapi/v1/aggTrades"] = aggregates(5_001, 5_001, holes[1].opened_at)
    done = repair(resolve)
    assert (done.repaired, len(done.errors)) == (1, 1)
    assert query(CURRENT, holes[0].gap_id) == [("open", 1, 2, 0, None)]

    at = milliseconds(holes[0].opened_at)

    def history(params: dict[str, str]) -> Any:
        rows = [
            {"instId": "BTC-USDT-SWAP", "tradeId": str(n), "px": "60000", "sz": "25", "side": "buy", "ts": str(at)}
            for n in range(int(params["after"]) - 1, 890, -1)
        ]
        return {"code": "0", "msg": "", "data": rows[:100]}

    venue.answers["/api/v5/market/history-trades"] = history
    assert repair(resolve).repaired == 1
    rows = query("SELECT trade_id, size_base, size_native FROM raw.trades WHERE source = 'okx' ORDER BY 1")
    assert rows == [("901", Decimal("0.25"), Decimal(25)), ("902", Decimal("0.25"), Decimal(25))]


def test_repair_when_the_limits_are_not_known_then_the_trades_around_the_hole_are_them(
    store: Store, ticks: Ticks, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    hole = gap("ETH-USD", None, None, venue="coinbase", minute=7, closed_at=START + 8 * MINUTE)
    around = [trade(301, hole.opened_at, venue="coinbase"), trade(304, START + 8 * MINUTE, venue="coinbase")]
    ticks.write("trades:ETH-USD", *around)
    archive(ticks.resolve)
    opened(store, hole)
    inside = (hole.opened_at + timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.123456Z")
    venue.answers["/products/ETH-USD/ticker"] = lambda params: {
        "trades": [
            {"trade_id": str(n), "product_id": "ETH-USD", "price": "3000", "size": "1", "time": inside, "side": "BUY"}
            for n in (303, 302)
        ]
    }
    assert repair(resolve).repaired == 1
    assert query(CURRENT, hole.gap_id) == [("repaired", 2, 2, 2, None)]
    rows = query("SELECT trade_id, event_at FROM raw.trades WHERE symbol = 'ETH-USD' AND trade_id IN ('302', '303')")
    assert {at.microsecond for _, at in rows} == {123_000}


def test_repair_when_nobody_closed_the_gap_then_it_ends_with_the_next_trade(
    store: Store, ticks: Ticks, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    # The pump was killed in the middle of a hole.
    hole = gap("ETH-USD-PERP", None, None, minute=12, closed_at=None)
    around = [trade(401, hole.opened_at - timedelta(seconds=1)), trade(405, hole.opened_at + timedelta(seconds=50))]
    ticks.write("trades:ETH-USD-PERP", *around)
    archive(ticks.resolve)
    opened(store, hole)
    venue.answers["/dapi/v1/aggTrades"] = aggregates(402, 410, hole.opened_at)
    assert repair(resolve).repaired == 1
    assert query(CURRENT, hole.gap_id) == [("repaired", 2, 3, 3, None)]
    closed = query("SELECT closed_at FROM ops.stream_gaps_current WHERE gap_id = %s", hole.gap_id)
    assert closed == [(hole.opened_at + timedelta(seconds=50),)]


def test_repair_when_a_pump_died_in_a_hole_of_a_book_then_it_ends_when_the_next_one_had_the_book(
    store: Store, resolve: Resolver, query: Query
) -> None:
    dead, next_one = uuid4(), uuid4()
    symbol, began = "ETH-USDT", START + 14 * MINUTE
    known = (
        "SELECT state, revision, closed_at FROM ops.stream_gaps_current"
        " WHERE symbol = 'ETH-USDT' AND channel = 'orderbook'"
    )
    with database.connect(store.warehouse.ingest, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ops.stream_gaps (gap_id, revision, venue, symbol, channel, state, reason, opened_at,"
            " session_id) VALUES (%s, 1, 'binance', %s, 'orderbook', 'open', 'disconnect', %s, %s)",
            [uuid4(), symbol, began + timedelta(seconds=5), dead],
        )
    judged(store, symbol, began + MINUTE, "clean", channel="orderbook", session=dead)  # as if it were alive
    judged(store, symbol, began + 2 * MINUTE, "suspect", 3, "partial", channel="orderbook", session=next_one)
    repair(resolve)
    assert query(known) == [("open", 1, None)]
    judged(store, symbol, began + 3 * MINUTE, "clean", channel="orderbook", session=next_one)
    repair(resolve)
    repair(resolve)
    assert query(known) == [("open", 2, began + 3 * MINUTE)]


def test_repair_when_past_trades_are_requested_then_fetches_them_by_time_and_leaves_verdicts_alone(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    symbol, window = "BTC-USDT-PERP", Window(START - 20 * MINUTE, START - 18 * MINUTE)
    with database.connect(store.warehouse.ingest, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ops.stream_verdicts (venue, symbol, channel, minute, verdict, events)"
            " VALUES ('binance', %s, 'trades', %s, 'verified', 1)",
            [symbol, window.start],
        )
    assert [request_trades(resolve, "binance", window, [symbol]) for _ in range(2)] == [1, 0]

    # A trade a second, numbered from a minute before the window on; the first question is by time, the next by number.
    first = window.start - MINUTE

    def answer(params: dict[str, str]) -> Any:
        number = int(params.get("fromId", 7_000))
        assert "fromId" in params or int(params["startTime"]) == milliseconds(first)
        rows = range(number, min(number + 100, 7_400))
        at = milliseconds(first)
        return [
            {"a": n, "p": "60000.10", "q": "0.00100", "f": n, "l": n, "T": at + 1000 * (n - 7_000), "m": False}
            for n in rows
        ]

    venue.answers["/fapi/v1/aggTrades"] = answer
    assert (repair(resolve).repaired, repair(resolve).looked_at) == (1, 0)
    rows = query(
        "SELECT count(*), min(event_at), max(event_at) FROM raw.trades WHERE symbol = %s AND event_at < %s",
        symbol,
        window.end,
    )
    assert rows == [(120, window.start, window.end - timedelta(seconds=1))]
    bars = query(
        "SELECT event_at, trade_count FROM raw.trade_bars WHERE symbol = %s AND event_at >= %s AND event_at < %s"
        " ORDER BY 1",
        symbol,
        window.start,
        window.end,
    )
    assert bars == [(window.start, 60), (window.start + MINUTE, 60)]
    verdicts = (
        "SELECT minute, verdict, events FROM ops.stream_verdicts WHERE symbol = %s AND minute >= %s AND minute < %s"
        " ORDER BY 1"
    )
    # What was watched keeps its own verdict; of the other minute the numbers prove that it is whole.
    assert query(verdicts, symbol, window.start - MINUTE, window.end + MINUTE) == [
        (window.start, "verified", 1),
        (window.start + MINUTE, "verified", 60),
    ]


@pytest.mark.parametrize(
    ("source", "symbols", "hours", "says"),
    [
        ("nobody", [], 1, "nobody"),
        ("binance", ["NO-SUCH"], 1, "NO-SUCH"),
        ("fred", [], 1, "fred gives no past trades"),
        ("binance", ["BTC-USDT-PERP"], -1, "when their time is over"),
        ("binance", ["BTC-USDT-PERP"], 24 * 8, "too old: raw keeps some days"),
        ("binance", ["BTC-USDT"], 1, "no past trades by time of BTC-USDT"),  # by number only
    ],
)
def test_request_when_it_cannot_be_answered_then_says_why_and_opens_nothing(
    resolve: Resolver, query: Query, source: str, symbols: list[str], hours: int, says: str
) -> None:
    end = datetime.now(UTC) - timedelta(hours=hours)
    before = query("SELECT count(*) FROM ops.stream_gaps")
    with pytest.raises(UserError, match=says):
        request_trades(resolve, source, Window(end - timedelta(minutes=5), end), symbols)
    assert query("SELECT count(*) FROM ops.stream_gaps") == before


def test_repair_when_it_cannot_be_done_then_the_gap_stays_and_says_why(
    store: Store, resolve: Resolver, query: Query
) -> None:
    unlisted = gap("NO-SUCH", 1, 2, minute=9)
    endless = gap("BTC-USDC", 1, 9, minute=9)
    huge = gap("BTC-USDT", 1, 5_000_000, minute=9)
    running_on = gap("BTC-USDT", 7, 9, minute=10, closed_at=None, opened_at=datetime.now(UTC))
    opened(store, unlisted, huge, running_on, endless)
    done = repair(resolve)
    assert done.left >= 2
    assert query(CURRENT, unlisted.gap_id)[0][4] == "the instrument is not in the registry"
    assert query(CURRENT, huge.gap_id)[0][4] == "5000000 trades are more than a repair asks for"
    # It has not ended: there is nothing to say yet.
    assert query(CURRENT, running_on.gap_id) == [("open", 1, 3, 0, None)]
    revisions = query("SELECT count(*) FROM ops.stream_gaps WHERE gap_id = %s", unlisted.gap_id)
    repair(resolve)
    assert query("SELECT count(*) FROM ops.stream_gaps WHERE gap_id = %s", unlisted.gap_id) == revisions


def judged(
    store: Store,
    symbol: str,
    minute: datetime,
    verdict: str,
    events: int = 1,
    *troubles: str,
    channel: str = "trades",
    session: UUID | None = None,
) -> None:
    with database.connect(store.warehouse.ingest, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO ops.stream_verdicts (venue, symbol, channel, minute, verdict, events, detail, session_id)"
            " VALUES ('binance', %s, %s, %s, %s, %s, %s, %s)",
            [symbol, channel, minute, verdict, events, json.dumps({"troubles": troubles}), session],
        )


VERDICTS = (
    "SELECT minute, verdict FROM ops.stream_verdicts_current WHERE venue = 'binance' AND symbol = %s"
    " AND minute >= %s AND minute < %s ORDER BY 1"
)


def a_trade_a_second(symbol_start: datetime, first: int, page: int) -> Callable[[dict[str, str]], Any]:
    """Numbers count up from `first`; asked by time it begins there."""

    def answer(params: dict[str, str]) -> Any:
        asked = int(params.get("fromId", first))
        at = milliseconds(symbol_start)
        return [
            {"a": n, "p": "60000.10", "q": "0.00100", "f": n, "l": n, "T": at + 1000 * (n - first), "m": False}
            for n in range(asked, asked + page)
        ]

    return answer


def test_repair_when_a_request_has_too_many_pages_then_nothing_that_did_not_come_counts(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairing, "MOST_PAGES", 2)
    symbol, window = "ETH-USDT-PERP", Window(START - 60 * MINUTE, START - 50 * MINUTE)
    request_trades(resolve, "binance", window, [symbol])
    venue.answers["/fapi/v1/aggTrades"] = a_trade_a_second(window.start - MINUTE, 7_000, 100)
    repair(resolve)
    columns = "state, missing_count, repaired_count, detail ->> 'unrepairable'"
    assert query(
        f"SELECT {columns} FROM ops.stream_gaps_current WHERE reason = 'requested' AND symbol = %s", symbol
    ) == [("partly_repaired", None, 140, "these are more than 2 pages")]
    assert query(VERDICTS, symbol, window.start, window.end) == []


def test_repair_when_a_hole_has_too_many_pages_then_each_run_goes_on_where_the_last_one_ended(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repairing, "MOST_PAGES", 2)
    hole = gap("BTC-USD-PERP", 20_001, 25_000, minute=3)
    opened(store, hole)
    venue.answers["/dapi/v1/aggTrades"] = aggregates(20_001, 30_000, hole.opened_at)
    assert [repair(resolve).trades for _ in range(4)] == [2_000, 2_000, 1_000, 0]
    assert [params["fromId"] for _, params in venue.asked] == ["20001", "21001", "22001", "23001", "24001"]
    assert query(CURRENT, hole.gap_id)[0][0] == "repaired"


def test_repair_when_a_gap_contradicts_raw_or_is_refused_then_the_others_are_repaired(
    store: Store, ticks: Ticks, resolve: Resolver, venue: HistoryServer, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbol, minute = "ETH-USD-PERP", -10
    ticks.write(f"trades:{symbol}", trade(500, START + minute * MINUTE - timedelta(seconds=1)))
    archive(ticks.resolve)
    # 400 is the last that is missing, and 500 came before.
    odd = gap(symbol, None, 400, minute=minute)
    bad, good = (
        gap("BTC-USD-PERP", 31_001, 31_010, minute=minute + 1),
        gap("BTC-USD-PERP", 32_001, 32_010, minute=minute + 3),
    )
    opened(store, odd, bad, good)
    venue.answers["/dapi/v1/aggTrades"] = aggregates(31_001, 32_010, bad.opened_at)
    run = gating.run_gate

    def refusing(connection: Connection, batch: Any, **more: Any) -> GateReport:
        report = run(connection, batch, **more)
        return replace(report, passed=False) if str(bad.gap_id) in batch.run_id else report

    with monkeypatch.context() as patched:
        patched.setattr(gating, "run_gate", refusing)
        for _ in range(3):
            with pytest.raises(GateFailed, match="came back for 1 gaps was refused"):
                repair(resolve)
        assert repair(resolve).errors == []
    assert query(CURRENT, odd.gap_id)[0] == (
        "open", 2, None, 0, "the numbers around it contradict each other: 501 follows, 400 came before",
    )  # fmt: skip
    assert query(CURRENT, bad.gap_id)[0] == ("open", 4, 10, 0, "the gate refused what came back")
    assert query(CURRENT, good.gap_id)[0][0] == "repaired"


def test_verdicts_when_the_pump_gives_them_after_the_gap_then_they_are_held_against_it(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    symbol = "BTC-USD-PERP"
    mended, noted = gap(symbol, 41_001, 41_010, minute=-20), gap(symbol, 42_001, 42_010, minute=-18, reason="malformed")
    begun = gap(symbol, 43_001, 43_010, minute=-16)
    opened(store, mended, begun)
    # A request that nobody can fill does not keep its minutes in doubt.
    opened(store, gap(symbol, None, None, minute=-20, reason="requested", detail={"final": True}))
    venue.answers["/dapi/v1/aggTrades"] = aggregates(41_001, 43_010, mended.opened_at)
    assert repair(resolve).repaired == 2
    opened(store, noted)
    judged(store, symbol, mended.opened_at, "suspect", 7, "hole")
    judged(store, symbol, noted.opened_at, "verified", 7)
    judged(store, symbol, begun.opened_at, "suspect", 7, "hole", "partial")
    archive(resolve)
    assert query(VERDICTS, symbol, mended.opened_at, begun.opened_at + MINUTE) == [
        (mended.opened_at, "verified"),
        (noted.opened_at, "suspect"),
        (begun.opened_at, "suspect"),
    ]


def test_verdicts_when_a_long_outage_was_filled_by_number_then_each_of_its_whole_minutes_has_one(
    store: Store, resolve: Resolver, venue: HistoryServer, query: Query
) -> None:
    symbol = "BTC-USD-PERP"
    outage = gap(symbol, 51_001, 51_200, minute=-30, closed_at=START - 27 * MINUTE, reason="crash")
    judged(store, symbol, START - 28 * MINUTE, "missing", 0, "down")
    opened(store, outage)
    venue.answers["/dapi/v1/aggTrades"] = a_trade_a_second(outage.opened_at, 51_001, 200)
    repair(resolve)
    assert query(VERDICTS, symbol, outage.opened_at, START - 27 * MINUTE) == [
        (START - minute * MINUTE, "verified") for minute in (30, 29, 28)
    ]


def test_request_when_it_is_long_then_is_asked_for_by_the_hour(resolve: Resolver, query: Query) -> None:
    end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=30)
    window = Window(end - timedelta(minutes=150), end + timedelta(minutes=5))
    assert [request_trades(resolve, "okx", window, ["BTC-USDT"]) for _ in range(2)] == [4, 0]
    pieces = query(
        "SELECT opened_at, closed_at FROM ops.stream_gaps WHERE venue = 'okx' AND reason = 'requested' ORDER BY 1"
    )
    hour = timedelta(hours=1)
    assert pieces == [
        (window.start, end - 2 * hour),
        (end - 2 * hour, end - hour),
        (end - hour, end),
        (end, window.end),
    ]
