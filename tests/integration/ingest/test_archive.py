"""From the streams to raw and lake: once, in exact numbers, with all that is wrong named and nothing else lost."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.integration.conftest import Store
from tests.integration.ingest.ticks import MINUTE, Ticks, milliseconds, recent_minute, trade, trades

from coinswarm.connections import Connection
from coinswarm.errors import GateFailed, StoreUnavailable
from coinswarm.ingest import archive as archiving
from coinswarm.ingest.archive import archive, working_alone
from coinswarm.orchestration.tick_backlog import count_waiting
from coinswarm.quality.gate import GateReport
from coinswarm.storage import database, ledger
from coinswarm.storage.lake import Lake

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[Any, ...]]]
SPOT = "trades:BTC-USDT"


@pytest.fixture(autouse=True)
def _empty_streams(ticks: Ticks) -> None:
    client = ticks.redis
    for key in client.scan_iter():
        client.delete(key)


def verified(store: Store) -> None:
    with database.connect(store.warehouse.auditor) as connection:
        ledger.verify(connection, lake=Lake(store.lake))


def test_archive_when_trades_came_then_raw_and_lake_have_each_once(store: Store, ticks: Ticks, query: Query) -> None:
    start = recent_minute()
    ids = ticks.write(
        SPOT,
        trade(101, start, price="60000.10", size="0.00100"),
        trade(102, start + timedelta(milliseconds=1), side="sell", price="60000.1000000000000000001"),
        trade("9f1c", start, venue="bybit", size="1e-3"),
        trade(7, start, venue="okx", native="3", seq=5),
    )
    done = archive(ticks.resolve)
    assert (done.entries, done.inserted, done.unfit, done.missed, done.drained) == (4, 4, 0, 0, True)
    assert done.sources["trades"] == {"binance", "bybit", "okx"}

    rows = query(
        "SELECT source, trade_id, trade_kind, price::text, size_base::text, side, size_native::text, sequence,"
        " event_at, received_at - event_at, quality_score FROM raw.trades WHERE symbol = 'BTC-USDT'"
        " ORDER BY source, trade_id"
    )
    late = timedelta(milliseconds=7)
    half = Decimal("0.5")
    assert rows == [
        ("binance", "101", "trade", "60000.1", "0.001", "buy", None, None, start, late, half),
        ("binance", "102", "trade", "60000.1000000000000000001", "0.001", "sell", None, None,
         start + timedelta(milliseconds=1), late, half),
        ("bybit", "9f1c", "trade", "60000.1", "0.001", "buy", None, None, start, late, half),
        ("okx", "7", "trade", "60000.1", "0.001", "buy", "3", 5, start, late, half),
    ]  # fmt: skip
    assert (ticks.pending(SPOT), ticks.unread(SPOT)) == (0, 0)

    lake = Lake(store.lake)
    objects = query(
        "SELECT o.kind, o.object_key FROM ops.lake_objects AS o JOIN ops.batches USING (batch_id)"
        " WHERE o.dataset = 'trades' AND o.source = 'binance' ORDER BY o.kind"
    )
    assert [kind for kind, _ in objects] == ["landing", "parquet"]
    entries = [json.loads(line) for line in lake.landed(objects[0][1]).splitlines()]
    assert [(key, entry_id) for key, entry_id, _ in entries] == [(SPOT, ids[0]), (SPOT, ids[1])]
    assert dict(zip(entries[0][2][::2], entries[0][2][1::2], strict=True))["price"] == "60000.10"
    table = pq.read_table(io.BytesIO(lake.get(objects[1][1])))
    assert table["trade_id"].to_pylist() == ["101", "102"]
    verified(store)

    assert archive(ticks.resolve).to_json() | {"drained": True} == {
        **dict.fromkeys(("batches", "resumed", "entries", "inserted", "unchanged", "unfit", "missed"), 0),
        **dict.fromkeys(("books", "bars"), 0),
        "drained": True, "published": {}, "refused": [],
    }  # fmt: skip


def test_backlog_when_counted_then_is_what_the_archive_was_not_given_yet(ticks: Ticks) -> None:
    ticks.redis.sadd("ticks:streams", "trades:ETH-BTC", "funding:BTC-USDT-PERP")
    assert count_waiting(ticks.connection) == 0
    ticks.write(SPOT, *trades(range(1, 6), recent_minute()))
    ticks.write("orderbook:BTC-USDT:snapshot", {"venue": "okx"})
    ticks.write("funding:BTC-USDT-PERP", {"venue": "okx"})
    assert count_waiting(ticks.connection) == 5, "before there is a group"
    archive(ticks.resolve)
    assert count_waiting(ticks.connection) == 0
    ticks.write(SPOT, *trades(range(6, 10), recent_minute()))
    ticks.redis.xtrim(SPOT, maxlen=3, approximate=False)
    assert count_waiting(ticks.connection) == 3, "what was trimmed nobody will be given"


def test_archive_when_the_live_feed_gives_aggregates_then_says_so(ticks: Ticks, query: Query) -> None:
    ticks.write("trades:BTC-USDT-PERP", trade(1, recent_minute()))
    archive(ticks.resolve)
    assert query("SELECT trade_kind FROM raw.trades WHERE symbol = 'BTC-USDT-PERP'") == [("aggregate",)]


def test_archive_when_entries_cannot_be_rows_then_they_are_quarantined_and_the_rest_goes_on(
    store: Store, ticks: Ticks, query: Query
) -> None:
    start = recent_minute()
    bad = {
        "price": trade(202, start, price="0"),
        "size": trade(203, start, size="NaN"),
        "side": trade(204, start, side="long"),
        "ts": trade(205, start, ts="soon", recv=milliseconds(start)),
        "event_at": trade(206, start + timedelta(days=300), recv=milliseconds(start)),
        "id": trade("", start),
        "venue": trade(208, start, venue="nowhere"),
        "entry": {"venue": "binance"},
    }
    bad["recv"] = {**trade(209, start), "recv": "x"}
    ticks.write(SPOT, trade(201, start), *bad.values(), trade(210, start))
    ticks.write("trades:NO-SUCH", trade(211, start))
    done = archive(ticks.resolve)
    assert (done.inserted, done.unfit) == (2, len(bad) + 1)
    refused = query(
        "SELECT source, symbol, field, payload -> 'fields' FROM quarantine.records WHERE dataset = 'trades'"
    )
    fields = {field for _, symbol, field, _ in refused if symbol == "BTC-USDT"}
    assert fields == (set(bad) - {"entry", "size"}) | {"size", "recv"}
    assert {(source, field) for source, symbol, field, _ in refused if symbol == "NO-SUCH"} == {("binance", "symbol")}
    assert {source for source, _, field, _ in refused if field == "venue"} == {"unknown"}
    assert ["venue", "binance"] in [payload for *_, payload in refused]
    # What is no row of Binance's stream is missing; of the others nobody knows whose it is.
    holes = "SELECT venue, symbol, first_missing, last_missing, missing_count, detail ? 'batch' FROM ops.stream_gaps"
    assert query(f"{holes} WHERE reason = 'malformed'") == [("binance", "BTC-USDT", "202", "209", 8, True)]
    assert (ticks.pending(SPOT), ticks.unread(SPOT)) == (0, 0)
    verified(store)
    # None of it comes back.
    assert archive(ticks.resolve).entries == 0


def test_archive_when_a_trade_was_written_twice_then_once_in_raw_and_a_contradiction_is_named(
    ticks: Ticks, query: Query
) -> None:
    start = recent_minute()
    again = trade(301, start) | {"recv": milliseconds(start) + 900}
    ticks.write(SPOT, trade(301, start), again, trade(301, start, price="60000.2"), trade(302, start))
    done = archive(ticks.resolve)
    assert (done.inserted, done.unfit) == (2, 1)
    ticks.write(SPOT, again, trade(303, start))
    done = archive(ticks.resolve)
    assert (done.inserted, done.unchanged) == (1, 1)
    rows = query("SELECT trade_id, price FROM raw.trades WHERE trade_id LIKE '30_' ORDER BY 1")
    assert rows == [("301", Decimal("60000.1")), ("302", Decimal("60000.1")), ("303", Decimal("60000.1"))]
    reasons = query("SELECT reason, payload -> 'fields' ->> 3 FROM quarantine.records WHERE field = 'trade_id'")
    assert reasons == [("an earlier entry has this key and other values", "60000.2")]


def test_archive_when_entries_are_of_two_days_then_batches_and_partitions_are_too(ticks: Ticks, query: Query) -> None:
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    ticks.write(SPOT, *trades(range(401, 405), midnight - timedelta(milliseconds=2), timedelta(milliseconds=1)))
    archive(ticks.resolve)
    found = query(
        "SELECT t.tableoid::regclass::text, b.window_start, b.window_end, array_agg(trade_id ORDER BY trade_id)"
        " FROM raw.trades AS t JOIN ops.batches AS b USING (batch_id) WHERE trade_id LIKE '40_'"
        " GROUP BY 1, 2, 3 ORDER BY 2"
    )
    day = timedelta(days=1)
    assert found == [
        (f"raw.trades_{midnight - day:%Y%m%d}", midnight - day, midnight, ["401", "402"]),
        (f"raw.trades_{midnight:%Y%m%d}", midnight, midnight + day, ["403", "404"]),
    ]


def test_archive_when_redis_trimmed_before_it_came_then_gaps_say_what_is_missing(ticks: Ticks, query: Query) -> None:
    key, start = "trades:ETH-USDT", recent_minute(30)
    first = [*trades(range(501, 504), start), trade("a", start, venue="bybit")]
    ticks.write(key, *first, at=start)
    archive(ticks.resolve)
    lost = [*trades(range(504, 510), start + MINUTE), trade("b", start + MINUTE, venue="bybit")]
    ticks.write(key, *lost, at=start + MINUTE)
    rest = [trade(510, start + 2 * MINUTE), trade("c", start + 2 * MINUTE, venue="bybit")]
    ticks.write(key, *rest, at=start + 2 * MINUTE)
    ticks.redis.xtrim(key, minid=milliseconds(start + 2 * MINUTE), approximate=False)
    done = archive(ticks.resolve)
    assert (done.missed, done.inserted) == (7, 2)
    columns = "venue, state, reason, first_missing, last_missing, missing_count, opened_at, closed_at"
    gaps = query(f"SELECT {columns} FROM ops.stream_gaps_current WHERE symbol = 'ETH-USDT' ORDER BY venue")
    times = (start, start + 2 * MINUTE)
    assert gaps == [
        ("binance", "open", "trimmed", "504", "509", 6, *times),
        ("bybit", "open", "trimmed", None, None, None, *times),
    ]
    assert archive(ticks.resolve).missed == 0


def test_archive_when_trades_were_trimmed_before_it_came_first_then_that_is_a_gap_too(
    ticks: Ticks, query: Query
) -> None:
    key, start = "trades:BTC-USD-PERP", recent_minute(30)
    ticks.redis.xgroup_create(key, "archive", id="0", mkstream=True)  # as the pump does
    ticks.write(key, *trades(range(551, 556), start), at=start)
    ticks.redis.xtrim(key, maxlen=2, approximate=False)
    done = archive(ticks.resolve)
    assert (done.missed, done.inserted) == (3, 2)
    columns = "state, first_missing, last_missing, missing_count, detail ->> 'unrepairable'"
    gaps = query(f"SELECT {columns} FROM ops.stream_gaps_current WHERE symbol = 'BTC-USD-PERP'")
    assert gaps == [("open", None, "553", None, "nobody knows where it began")]
    ticks.write(key, *trades([556], start + MINUTE), at=start + MINUTE)
    assert archive(ticks.resolve).missed == 0


def test_archive_when_redis_lost_all_and_more_was_trimmed_then_the_gap_begins_with_the_last_trade_of_raw(
    ticks: Ticks, query: Query
) -> None:
    key, start = "trades:ETH-USDT-PERP", recent_minute(40)
    ticks.write(key, *trades(["a", "b"], start, venue="bybit"), at=start)
    archive(ticks.resolve)
    ticks.redis.delete(key)
    ticks.redis.xgroup_create(key, "archive", id="0", mkstream=True)
    later = start + 20 * MINUTE
    ticks.write(key, *trades(["x", "y", "z"], later, venue="bybit"), at=later)
    ticks.redis.xtrim(key, maxlen=1, approximate=False)
    assert archive(ticks.resolve).missed == 2
    columns = "opened_at, date_trunc('minute', closed_at), missing_count, detail ->> 'final'"
    gaps = query(f"SELECT {columns} FROM ops.stream_gaps_current WHERE symbol = 'ETH-USDT-PERP'")
    assert gaps == [(start + timedelta(milliseconds=10), later, None, None)]


def test_archive_when_a_dead_worker_held_pages_that_are_trimmed_then_they_are_one_gap(
    ticks: Ticks, query: Query
) -> None:
    key, start = "trades:BTC-USDT-PERP", recent_minute(50)
    ticks.write(key, trade(1, start))
    archive(ticks.resolve)
    ticks.write(key, *trades(range(2, 902), start + MINUTE))
    ticks.redis.xreadgroup("archive", "archive", {key: ">"}, count=900)
    ticks.redis.xtrim(key, maxlen=0, approximate=False)
    ticks.write(key, trade(902, start + 2 * MINUTE))
    assert archive(ticks.resolve, per_cycle=400).missed == 900
    columns = "first_missing, last_missing, missing_count"
    gaps = query(f"SELECT {columns} FROM ops.stream_gaps_current WHERE symbol = 'BTC-USDT-PERP'")
    assert gaps == [("2", "901", 900)]


def test_archive_when_what_a_dead_worker_was_given_is_trimmed_then_that_is_a_gap_too(
    ticks: Ticks, query: Query
) -> None:
    key, start = "trades:ETH-BTC", recent_minute(30)
    ticks.write(key, *trades(range(601, 604), start), at=start)
    archive(ticks.resolve)
    ticks.write(key, *trades(range(604, 608), start + MINUTE), at=start + MINUTE)
    ticks.redis.xreadgroup("archive", "archive", {key: ">"})
    ticks.redis.xtrim(key, maxlen=1, approximate=False)
    done = archive(ticks.resolve)
    assert (done.missed, done.inserted) == (3, 1)
    gaps = query(
        "SELECT first_missing, last_missing, missing_count FROM ops.stream_gaps_current WHERE symbol = 'ETH-BTC'"
    )
    assert gaps == [("604", "606", 3)]


def test_archive_when_liquidations_came_then_raw_has_them(ticks: Ticks, query: Query) -> None:
    start = recent_minute()
    entry = {
        "venue": "bybit", "side": "long", "price": "59000", "size": "0.5", "ts": milliseconds(start),
        "recv": milliseconds(start) + 3, "price_kind": "bankruptcy", "sampled": 0,
    }  # fmt: skip
    ticks.write("liquidations:BTC-USDT-PERP", entry, entry, entry | {"sampled": "maybe"})
    done = archive(ticks.resolve)
    assert (done.inserted, done.unfit) == (1, 1)
    columns = "source, event_at, side, price, size_base, size_native, price_kind, is_sampled"
    assert query(f"SELECT {columns} FROM raw.liquidations") == [
        ("bybit", start, "long", Decimal(59000), Decimal("0.5"), None, "bankruptcy", False)
    ]


def book(venue: str, at: datetime, bid: str) -> dict[str, Any]:
    return {
        "venue": venue, "bids": json.dumps([[bid, "1.50"]]), "asks": '[["101","2"]]', "spread_bps": "99.5",
        "imbalance": "-0.14", "ofi": "1e-7", "ts": milliseconds(at), "recv": milliseconds(at) + 3, "seq": 42,
    }  # fmt: skip


def test_archive_when_books_came_then_keeps_the_last_of_each_finished_minute(ticks: Ticks, query: Query) -> None:
    key, start = "orderbook:BTC-USDT:snapshot", recent_minute()
    second = timedelta(seconds=1)
    for at, venue, bid in (
        (start, "binance", "98"),
        (start + 59 * second, "binance", "100.0"),
        (start + 30 * second, "okx", "97"),
        (start + 61 * second, "binance", "100.5"),
        (datetime.now(UTC), "binance", "96"),
    ):
        ticks.write(key, book(venue, at, bid), at=None if at > start + MINUTE * 3 else start + MINUTE)
    # Redis takes entries in the order of their ids, which here are of the minute after.
    assert archive(ticks.resolve).books == 3
    columns = "source, event_at, bids, asks, spread_bps, imbalance, ofi, trade_imbalance, last_update_id"
    rows = query(f"SELECT {columns} FROM raw.order_books ORDER BY source, event_at")
    shared = ([["101", "2"]], Decimal("99.5"), Decimal("-0.14"), Decimal("0.0000001"), None, 42)
    assert rows == [
        ("binance", start + 59 * second, [["100.0", "1.50"]], *shared),
        ("binance", start + 61 * second, [["100.5", "1.50"]], *shared),
        ("okx", start + 30 * second, [["97", "1.50"]], *shared),
    ]
    assert archive(ticks.resolve).books == 0
    assert len(ticks.redis.xrange(key, f"({ticks.passed(key)}")) == 1
    # Late for a minute that was sampled: it stays as it is.
    ticks.write(key, book("okx", start + 40 * second, "95"))
    archive(ticks.resolve, now=datetime.now(UTC) + 2 * MINUTE)
    assert [row[0] for row in query("SELECT event_at FROM raw.order_books WHERE source = 'okx'")] == [
        start + 30 * second
    ]


def test_bars_when_trades_come_late_then_the_bar_is_revised_and_otherwise_left_alone(
    store: Store, ticks: Ticks, query: Query
) -> None:
    key, start = "trades:BTC-USD", recent_minute()
    sizes = ["0.5", "1", "2.25"]
    prices = ["100", "102.5", "99"]
    sides = ["buy", "sell", "buy"]
    entries = [
        trade(9 + place, start + timedelta(seconds=place // 2), venue="coinbase", price=price, size=size, side=side)
        for place, (price, size, side) in enumerate(zip(prices, sizes, sides, strict=True))
    ]
    ticks.write(key, *entries)
    ticks.write(key, trade(90, datetime.now(UTC), venue="coinbase"))
    done = archive(ticks.resolve)
    assert done.bars == 1
    columns = (
        "event_at, open, high, low, close, vwap, volume_base, volume_quote, buy_base, sell_base, trade_count,"
        " buy_count, largest_quote, first_id, last_id"
    )
    current = f"SELECT {columns} FROM raw.trade_bars_current WHERE symbol = 'BTC-USD' AND event_at = %s"
    quotes = [Decimal(price) * Decimal(size) for price, size in zip(prices, sizes, strict=True)]
    volume, quote = Decimal("3.75"), sum(quotes)
    vwap = (quote / volume).quantize(Decimal("1e-18"))
    assert query(current, start) == [
        (start, Decimal(100), Decimal("102.5"), Decimal(99), Decimal(99), vwap, volume, quote, Decimal("2.75"),
         Decimal(1), 3, 2, ["222.75", "102.5", "50"], "9", "11"),
    ]  # fmt: skip

    ticks.write("trades:ETH-USD", trade(1, start, venue="coinbase"))
    archive(ticks.resolve)
    revisions = "SELECT count(*) FROM raw.trade_bars WHERE symbol = 'BTC-USD' AND event_at = %s"
    assert query(revisions, start) == [(1,)]

    ticks.write(key, trade(8, start, venue="coinbase", price="101", size="1"))
    assert archive(ticks.resolve).bars == 1
    assert query(revisions, start) == [(2,)]
    (bar,) = query(current, start)
    assert (bar[1], bar[6], bar[10], bar[13]) == (Decimal(101), Decimal("4.75"), 4, "8")
    verified(store)

    # The minute that was not over is built once it is, though nothing more comes.
    now = datetime.now(UTC) + 2 * MINUTE
    waiting = "SELECT count(*) FROM raw.trade_bars WHERE symbol = 'BTC-USD' AND event_at > %s"
    assert query(waiting, start) == [(0,)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("coinswarm.quality.rules.BAR_SKEW", timedelta(minutes=5))
        assert archive(ticks.resolve, now=now).bars == 1
    assert query(waiting, start) == [(1,)]


def test_archive_when_the_gate_refuses_a_batch_then_the_others_go_on_and_the_hole_is_noted(
    store: Store, ticks: Ticks, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coinswarm.quality import gate

    start = recent_minute()
    ticks.write(SPOT, *trades(range(701, 704), start), *trades(range(1, 3), start, venue="okx"))
    run = gate.run_gate

    def refusing(connection: Connection, batch: Any, **more: Any) -> GateReport:
        report = run(connection, batch, **more)
        if batch.source != "binance":
            return report
        return GateReport(report.batch_id, report.suite, False, None, 0, 0, ("it is Thursday",), (), ())

    with monkeypatch.context() as patched:
        patched.setattr(gate, "run_gate", refusing)
        with pytest.raises(GateFailed, match="Thursday"):
            archive(ticks.resolve)
    assert query("SELECT count(*) FROM raw.trades WHERE source = 'okx' AND trade_id IN ('1', '2')") == [(2,)]
    assert query("SELECT count(*) FROM raw.trades WHERE trade_id LIKE '70_'") == [(0,)]
    columns = "venue, symbol, first_missing, last_missing, missing_count"
    assert query(f"SELECT {columns} FROM ops.stream_gaps_current WHERE reason = 'malformed' AND missing_count = 3") == [
        ("binance", "BTC-USDT", "701", "703", 3)
    ]
    assert (ticks.pending(SPOT), archive(ticks.resolve).resumed) == (0, 0)


def test_archive_when_another_is_at_work_then_does_nothing(store: Store, ticks: Ticks) -> None:
    ticks.write(SPOT, trade(801, recent_minute()))
    with database.connect(store.warehouse.ingest, autocommit=True) as connection, working_alone(connection) as ours:
        assert ours
        done = archive(ticks.resolve)
        assert (done.entries, done.drained) == (0, False)
    assert archive(ticks.resolve).inserted == 1


def test_archive_when_there_is_more_than_a_cycle_then_reads_on_until_all_is_there(ticks: Ticks, query: Query) -> None:
    ticks.write(SPOT, *trades(range(9_000, 9_900), recent_minute()))
    done = archive(ticks.resolve, per_cycle=200)
    assert (done.entries, done.inserted, done.drained) == (900, 900, True)
    assert done.batches > 1
    assert query(
        "SELECT count(*) FROM raw.trades WHERE length(trade_id) = 4 AND trade_id LIKE '9%%' AND source = 'binance'"
    ) == [(900,)]


def test_archive_when_time_is_up_then_leaves_the_rest_for_the_next_run(ticks: Ticks) -> None:
    ticks.write(SPOT, *trades(range(20_000, 20_900), recent_minute()))
    first = archive(ticks.resolve, seconds=0, per_cycle=300)
    assert 0 < first.inserted < 900
    assert not first.drained
    assert archive(ticks.resolve).inserted == 900 - first.inserted


@pytest.mark.parametrize("gone", ["redis_ticks", "s3_lake", "pg_ingest"])
def test_archive_when_a_server_is_away_then_says_so_and_loses_nothing(ticks: Ticks, gone: str) -> None:
    from dataclasses import replace

    number = 30_000 + milliseconds(datetime.now(UTC)) % 1_000_000
    ticks.write(SPOT, trade(number, recent_minute()))

    def without(conn_id: str) -> Connection:
        known = ticks.resolve(conn_id)
        if conn_id != gone:
            return known
        return replace(known, host="http://127.0.0.1:9" if gone == "s3_lake" else "127.0.0.1", port=9)

    with pytest.raises(StoreUnavailable):
        archive(without)
    assert archive(ticks.resolve).inserted == 1


def test_batch_when_it_is_named_then_by_its_entries_alone(ticks: Ticks, query: Query) -> None:
    # A worker that collects the same entries again must come to the same batch.
    start = recent_minute()
    collected: list[list[archiving._Landed]] = []
    ticks.write(SPOT, *trades(range(40_001, 40_004), start))
    for _ in range(2):
        streams = archiving.Streams(ticks.resolve("redis_ticks"))
        worker = archiving._Worker(ticks.resolve, streams, archiving.Archived(), None)
        with database.connect(ticks.resolve("pg_ingest"), autocommit=True) as connection:
            landed, _ = worker._cycle(connection, [SPOT], 1_000)
        collected.append(landed)
        streams.close()
    first, second = collected
    assert [one.batch.batch_id for one in first] == [one.batch.batch_id for one in second]
    done = archive(ticks.resolve)
    assert (done.resumed, done.batches, done.inserted) == (1, 1, 3)


def test_archive_when_two_start_at_once_then_each_trade_is_there_once(store: Store, ticks: Ticks, query: Query) -> None:
    ticks.write(SPOT, *trades(range(50_000, 50_300), recent_minute()))
    done: list[int] = []
    workers = [threading.Thread(target=lambda: done.append(archive(ticks.resolve).inserted)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(done) in ([0, 300],)
    assert query("SELECT count(*) FROM raw.trades WHERE length(trade_id) = 5 AND trade_id LIKE '50%%'") == [(300,)]
    verified(store)
