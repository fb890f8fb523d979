"""As-of never changes its answer: late arrivals, concurrent publishes, and rows from the future."""

from __future__ import annotations

import threading
from collections import defaultdict
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.integration.storage.batches import NOON, READ_AT, bar, closes, new_batch, published, staged

from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record
from coinswarm.storage.database import connect
from coinswarm.storage.publish import publish
from coinswarm.storage.staging import Incoming, stage

pytestmark = pytest.mark.integration


def test_safe_now_when_a_publish_is_under_way_then_waits_and_its_answer_stays(warehouse, ingest, lake, monkeypatch):
    """The classic trap: rows that commit after a reader's as-of, with a known_at before it."""
    published(ingest, lake, [bar("1", symbol="SAFE")])
    batch = staged(ingest, [bar("2", symbol="SAFE")])
    inserted, go_on = threading.Event(), threading.Event()
    from coinswarm.storage import publish as module

    def wait_before_ledger(*args):
        inserted.set()
        assert go_on.wait(20)
        return clear(*args)

    clear = module._clear_staging
    monkeypatch.setattr(module, "_clear_staging", wait_before_ledger)
    writer = threading.Thread(target=lambda: publish(ingest, lake, batch))
    writer.start()
    assert inserted.wait(20)

    answers: list[datetime] = []
    with (
        connect(warehouse.transform, autocommit=True) as reader,
        connect(warehouse.auditor, autocommit=True) as watcher,
    ):
        asking = threading.Thread(target=lambda: answers.append(reader.execute("SELECT ops.safe_now()").fetchone()[0]))
        asking.start()
        for _ in range(200):
            waiting = watcher.execute(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND mode = 'ShareLock'"
            ).fetchone()[0]
            if waiting:
                break
            threading.Event().wait(0.02)
        assert waiting == 1
        assert answers == []
        assert closes(watcher, "SAFE") == ["1"]  # nothing of the open transaction is visible
        go_on.set()
        asking.join(20)
        writer.join(20)
        assert closes(watcher, "SAFE", as_of=answers[0]) == ["2"]
        left = watcher.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 20411")
        assert left.fetchone() == (0,)


def test_safe_now_when_asked_before_a_publish_then_the_publish_is_later(ingest, lake):
    (moment,) = ingest.execute("SELECT ops.safe_now()").fetchone()
    assert published(ingest, lake, [bar("1", symbol="LATER")]).known_at > moment


def test_publish_when_two_sessions_publish_one_dataset_then_both_and_in_order(warehouse, lake):
    results = []

    def work(number: int) -> None:
        with connect(warehouse.ingest, autocommit=True) as conn:
            results.extend(published(conn, lake, [bar(str(n + 1), symbol=f"P{number}")]) for n in range(10))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len({result.known_at for result in results}) == 40
    with connect(warehouse.auditor, autocommit=True) as conn:
        chain = conn.execute("SELECT known_at FROM ops.batches WHERE dataset = 'ohlcv' ORDER BY seq").fetchall()
        assert chain == sorted(set(chain))
        assert {closes(conn, f"P{number}")[0] for number in range(4)} == {"10"}


def test_publish_when_two_attempts_of_one_batch_run_at_once_then_one_publishes(warehouse, lake):
    with connect(warehouse.ingest, autocommit=True) as conn:
        batch = staged(conn, [bar("4", symbol="TWICE")])
    results = []

    def work() -> None:
        with connect(warehouse.ingest, autocommit=True) as conn:
            results.append(publish(conn, lake, batch))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(results) == 3
    assert len(set(results)) == 1
    assert results[0].inserted == 1


def test_known_at_when_the_clock_steps_back_then_still_increases(ingest, owner, lake):
    published(ingest, lake, [bar("1", symbol="CLOCK")])
    # A ledger row from a clock that ran ahead, as after a step of NTP.
    ahead = datetime.fromisoformat("2090-01-01T00:00:00+00:00")
    owner.execute(
        "INSERT INTO ops.batches SELECT gen_random_uuid(), 'tvl', source, feed, dag_id, run_id, window_start,"
        " window_end, 0, 0, 0, 0, 0, 0, '[]', sha256(''), NULL, sha256(''), 1, %s FROM ops.batches LIMIT 1",
        [ahead],
    )
    batch = new_batch("tvl", source="defillama")
    result = publish(
        ingest, lake, staged(ingest, [Record("global", NOON, {"scope": "all", "tvl_usd": Decimal(1)})], batch)
    )
    assert result.known_at == ahead + timedelta(microseconds=1)


def test_as_of_when_absurd_rows_become_known_later_then_the_past_is_the_same_bytes(warehouse, ingest, lake):
    published(ingest, lake, [bar(str(n + 1), minute=n, symbol="POISON") for n in range(20)])
    (moment,) = ingest.execute("SELECT ops.safe_now()").fetchone()
    query = "SELECT string_agg(a::text, '|' ORDER BY a::text) FROM raw.ohlcv_asof(%s) AS a"
    before = ingest.execute(query, [moment]).fetchone()
    absurd = [bar("1e25", minute=n, symbol="POISON") for n in range(-5, 25)]
    gone = [bar("1", minute=n, symbol="POISON", gone=True) for n in range(3)]
    published(ingest, lake, [*absurd, *gone])
    assert ingest.execute(query, [moment]).fetchone() == before
    assert ingest.execute(query, ["infinity"]).fetchone() != before


def test_as_of_when_filtered_by_key_then_filter_reaches_the_index(ingest, lake):
    published(ingest, lake, [bar(str(n + 1), minute=n, symbol=s) for n in range(50) for s in ("I1", "I2")])
    ingest.execute("SET enable_seqscan = off")
    plan = "\n".join(
        line
        for (line,) in ingest.execute(
            "EXPLAIN SELECT * FROM raw.ohlcv_asof(%s) WHERE source = 'binance' AND symbol = 'I1' AND event_at < %s",
            [READ_AT, READ_AT],
        )
    )
    assert "Function Scan" not in plan
    assert "Index Cond: ((source = 'binance'::text) AND (symbol = 'I1'::text)" in plan


# A step is a batch: records for few keys, so that they collide; None is a withdrawal.
KEY = st.integers(0, 3)
VALUE = st.one_of(st.none(), st.integers(1, 3))
STEPS = st.lists(st.lists(st.tuples(KEY, VALUE), max_size=6), min_size=1, max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_as_of_when_batches_arrive_in_any_order_then_equals_the_oracle_at_every_moment(ingest, auditor, lake, steps):
    """Append invariance: what was visible at T is visible as of T after everything that came later."""
    symbol = f"H{new_batch().batch_id.hex}"
    oracle: dict[int, int | None] = {}
    history: list[tuple[datetime, dict[int, int | None]]] = []
    expected_revisions: dict[int, list[int | None]] = defaultdict(list)
    for step in steps:
        records = [bar(str(value or 1), minute=key, symbol=symbol, gone=value is None) for key, value in step]
        batch = new_batch()
        stage(ingest, dataset_named("ohlcv"), batch, [Incoming(record, READ_AT, "l") for record in records])
        result = publish(ingest, lake, batch)
        newest = dict(step)  # the last of a batch counts
        changed = {key: value for key, value in newest.items() if oracle.get(key, "never") != value}
        oracle = {**oracle, **changed}
        for key, value in changed.items():
            expected_revisions[key].append(value)
        assert (result.inserted, result.unchanged) == (len(changed), len(newest) - len(changed))
        history.append((result.known_at, dict(oracle)))
        assert _visible(ingest, symbol, result.known_at) == _living(oracle)
    for moment, state in history:
        assert _visible(ingest, symbol, moment) == _living(state)
    rows = ingest.execute(
        "SELECT event_at, close::bigint FROM raw.ohlcv WHERE symbol = %s ORDER BY event_at, known_at", [symbol]
    ).fetchall()
    found = defaultdict(list)
    for event_at, value in rows:
        found[(event_at - NOON) // timedelta(minutes=1)].append(value)
    assert found == expected_revisions


def _visible(conn, symbol: str, moment: datetime) -> dict[int, int]:
    rows = conn.execute("SELECT event_at, close::bigint FROM raw.ohlcv_asof(%s) WHERE symbol = %s", [moment, symbol])
    return {(event_at - NOON) // timedelta(minutes=1): value for event_at, value in rows.fetchall()}


def _living(state: dict[int, int | None]) -> dict[int, int]:
    return {key: value for key, value in state.items() if value is not None}
