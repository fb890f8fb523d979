"""What a provider may send or fail to send, through all steps of a batch: an error of the right class or quarantined
rows with their reasons, the rest of the batch published, the bytes kept, and nothing outside of the lake's prefixes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import boto3
import pytest
from tests.integration.conftest import Store

from coinswarm.batches import Batch
from coinswarm.connections import Connection, Resolver
from coinswarm.errors import AccessDenied, Blocked, ContractViolation, GateFailed, RateLimited, Unavailable
from coinswarm.ingest import backfill, pipeline
from coinswarm.ingest.plan import batch_of, feed_named
from coinswarm.sandbox.faults import Fault
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import source_named
from coinswarm.storage.lake import PREFIXES, Lake
from coinswarm.timeframes import Window

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[object, ...]]]
NOW = datetime(2026, 6, 2, tzinfo=UTC)
SPOT, PERPETUAL = "BTC-USDT", "BTC-USDT-PERP"
HOURS = 12
# Spot and perpetuals have hosts of their own, so that one of them can be spoilt alone.
SPOT_HOST = "api.binance.com"
_runs = count()


@pytest.fixture(autouse=True)
def _bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    from coinswarm.sources import http

    monkeypatch.setattr(http, "TIMEOUT_SECONDS", (1.0, 1.0))


@pytest.fixture
def batch() -> Batch:
    """Half a day of hourly bars of two instruments, of a day of its own."""
    number = next(_runs)
    spec = source_named("binance")
    start = NOW - timedelta(days=40 - number)
    window = Window(start, start + timedelta(hours=HOURS))
    return batch_of(
        spec, feed_named(spec, "ohlcv_1h"), window, dag_id="bad", run_id=str(number), symbols=(SPOT, PERPETUAL)
    )


def _with(store: Store, *faults: Fault) -> Any:
    return running(clock=Clock(NOW), faults=faults)


def _counts(query: Query, batch: Batch) -> dict[str, int]:
    rows = query("select symbol, count(*)::int from raw.ohlcv where batch_id = %s group by 1", str(batch.batch_id))
    return {str(symbol): int(str(number)) for symbol, number in rows}


def _refusals(query: Query, batch: Batch) -> list[tuple[object, ...]]:
    return query(
        "select symbol, field, stage, reason, landing_key from quarantine.records where batch_id = %s order by 1, 2, 4",
        str(batch.batch_id),
    )


def _bodies(query: Query, store: Store, batch: Batch) -> list[bytes]:
    keys = query(
        "select object_key from ops.lake_objects where batch_id = %s and kind = 'landing' order by 1",
        str(batch.batch_id),
    )
    return [Lake(store.lake).landed(str(key)) for (key,) in keys]


@pytest.fixture(autouse=True, scope="module")
def _everything_in_its_place(store: Store) -> Iterator[None]:
    yield
    client = boto3.client(
        "s3",
        endpoint_url=store.lake.host,
        aws_access_key_id=store.lake.login,
        aws_secret_access_key=store.lake.password,
        region_name="us-east-1",
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=store.lake.schema)
    keys = [item["Key"] for page in pages for item in page.get("Contents", ())]
    assert keys
    assert [key for key in keys if key.split("/")[0] not in PREFIXES or ".." in key] == []
    assert {key.split("/")[1] for key in keys if key.startswith("landing/")} == {"binance"}


# A page of a content network, cut JSON, another document, an error envelope with status 200, and what breaks parsers.
UNUSABLE = {
    "page": "<html><body>Just a moment...</body></html>",
    "cut": '[[1748736000000,"1","2"',
    "object": '{"unexpected": []}',
    "envelope": '{"code":-1121,"msg":"Invalid symbol."}',
    "nothing": " ",
    "deep": "[" * 100_000,
    "digits": "[[" + "9" * 5_000 + "]]",
    "NUL": '[["\\u0000"]]\x00',
    "scalar": "NaN",
}


@pytest.mark.parametrize("body", UNUSABLE.values(), ids=UNUSABLE)
def test_batch_when_one_body_is_unusable_then_it_is_kept_and_named_and_the_rest_is_published(
    store: Store, query: Query, batch: Batch, body: str
) -> None:
    with _with(store, Fault("status", host=SPOT_HOST, status=200, body=body)) as url:
        resolve = store.resolver(url)
        published = pipeline.run(batch, resolve)
        assert pipeline.run(batch, resolve) == published
    assert _counts(query, batch) == {PERPETUAL: HOURS}
    refusals = _refusals(query, batch)
    assert len(refusals) == 1
    symbol, _, stage, reason, key = refusals[0]
    assert (symbol, stage) == (SPOT, "parse")
    assert reason
    assert Lake(store.lake).landed(str(key)).decode() == body
    assert len(_bodies(query, store, batch)) == 2


def test_batch_when_every_body_is_unusable_then_fails_and_a_cleared_run_asks_again(
    store: Store, query: Query, batch: Batch
) -> None:
    def next_one(resolve: Resolver) -> Batch:
        return pipeline.next_batch(
            batch.source,
            batch.feed,
            batch.window,
            dag_id=batch.dag_id,
            run_id=batch.run_id,
            symbols=batch.symbols,
            resolve=resolve,
        )

    with _with(store, Fault("status", status=200, body="<html>\x00maintenance</html>", count=2)) as url:
        resolve = store.resolver(url)
        with pytest.raises(ContractViolation, match="binance"):
            pipeline.run(next_one(resolve), resolve)
        assert _counts(query, batch) == {}
        assert [refusal[0] for refusal in _refusals(query, batch)] == [SPOT, PERPETUAL]
        assert len(_bodies(query, store, batch)) == 2
        cleared = next_one(resolve)
        pipeline.run(cleared, resolve)
    assert _counts(query, cleared) == {SPOT: HOURS, PERPETUAL: HOURS}
    assert _refusals(query, cleared) == []


def test_batch_when_the_provider_refuses_one_instrument_then_the_others_are_published(
    store: Store, query: Query, batch: Batch
) -> None:
    gone = Fault("status", host=SPOT_HOST, status=400, body='{"code":-1121,"msg":"Invalid symbol."}')
    with _with(store, gone) as url:
        pipeline.run(batch, store.resolver(url))
    assert _counts(query, batch) == {PERPETUAL: HOURS}
    ((symbol, field, stage, reason, key),) = _refusals(query, batch)
    assert (symbol, field, stage, key) == (SPOT, "response", "parse", None)
    assert "Invalid symbol" in str(reason)


def test_batch_when_the_provider_refuses_every_instrument_then_fails_and_keeps_nothing(
    store: Store, query: Query, batch: Batch
) -> None:
    fault = Fault("status", status=400, body='{"code":-1100,"msg":"Illegal characters"}')
    with _with(store, fault) as url, pytest.raises(ContractViolation, match="Illegal characters"):
        pipeline.run(batch, store.resolver(url))
    assert _counts(query, batch) == {}


def test_batch_when_one_row_has_other_types_then_that_row_is_quarantined_with_field_and_reason(
    store: Store, query: Query, batch: Batch
) -> None:
    with _with(store, Fault("wrong_types", host=SPOT_HOST)) as url:
        pipeline.run(batch, store.resolver(url))
    assert _counts(query, batch) == {SPOT: HOURS - 1, PERPETUAL: HOURS}
    ((symbol, field, stage, reason, key),) = _refusals(query, batch)
    assert (symbol, stage) == (SPOT, "parse")
    assert field
    assert reason
    assert key


def _hostile_rows(batch: Batch) -> str:
    start = int(batch.window.start.timestamp() * 1000)

    def row(hour: int, *values: object) -> list[object]:
        opened = start + hour * 3_600_000
        given = ["100", "110", "90", "105", "5", opened + 3_599_999, "500", 7, "2", "200", "0"]
        return [opened, *values, *given[len(values) :]]

    good = [row(hour) for hour in range(HOURS - 2)]
    bad: list[object] = [
        row(HOURS - 2, "NaN"),
        row(HOURS - 2, "Infinity"),
        row(HOURS - 2, "-1"),
        row(HOURS - 2, "1e999999999"),
        row(HOURS - 2, "../../etc/passwd"),
        row(HOURS - 2, "'; DROP TABLE raw.ohlcv; --"),
        row(HOURS - 2, "x" * 10_000),
        row(HOURS - 2, "1\x00"),
        row(HOURS - 2, True),
        row(24 * 365 * 3),
        [None] * 12,
        [],
        None,
        "row",
        {"../": "'"},
        [10**30, *row(0)[1:]],
    ]
    # Newest first, and the good ones twice.
    return json.dumps([*bad, *reversed(good), *good])


def test_batch_when_rows_are_hostile_then_none_is_a_row_of_raw_and_the_gate_refuses_so_many(
    store: Store, query: Query, batch: Batch
) -> None:
    body = _hostile_rows(batch)
    fault = Fault("status", host=SPOT_HOST, status=200, body=body)
    with _with(store, fault) as url, pytest.raises(GateFailed, match="quarantined"):
        pipeline.run(batch, store.resolver(url))
    # Refused: nothing published, bytes and quarantined rows kept.
    assert _counts(query, batch) == {}
    assert query("select * from ops.batches where batch_id = %s", str(batch.batch_id)) == []
    refusals = _refusals(query, batch)
    # The one of the sixteen that opens years from now is outside of what was asked, as bars of overlapping pages are.
    assert len(refusals) == 15
    assert all(stage == "parse" and reason for _, _, stage, reason, _ in refusals)
    assert body.encode() in _bodies(query, store, batch)


def test_batch_when_few_rows_are_hostile_then_the_good_ones_are_published_in_order_and_once(
    store: Store, query: Query, batch: Batch
) -> None:
    rows = json.loads(_hostile_rows(batch))
    few = json.dumps([rows[0], rows[1], *rows[16:]])
    with _with(store, Fault("status", host=SPOT_HOST, status=200, body=few)) as url:
        pipeline.run(batch, store.resolver(url))
    assert _counts(query, batch) == {SPOT: HOURS - 2, PERPETUAL: HOURS}
    assert len(_refusals(query, batch)) == 2


def test_batch_when_a_rule_of_the_market_is_broken_then_the_gate_sets_the_row_aside(
    store: Store, query: Query, batch: Batch
) -> None:
    rows = json.loads(_hostile_rows(batch))[16 : 16 + HOURS - 2]
    rows[0][2] = "80"  # the high below the low
    with _with(store, Fault("status", host=SPOT_HOST, status=200, body=json.dumps(rows))) as url:
        pipeline.run(batch, store.resolver(url))
    assert _counts(query, batch) == {SPOT: HOURS - 3, PERPETUAL: HOURS}
    ((symbol, _, stage, reason, key),) = _refusals(query, batch)
    assert (symbol, stage) == (SPOT, "gate")
    assert "high" in str(reason)
    assert key


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault("truncated", host=SPOT_HOST, count=1), Unavailable),
        (Fault("server_error", host=SPOT_HOST, count=1), Unavailable),
        (Fault("hang", host=SPOT_HOST, count=1, seconds=3), Unavailable),
        (Fault("status", host=SPOT_HOST, count=1, status=401, body="{}"), AccessDenied),
        (Fault("status", host=SPOT_HOST, count=1, status=451, body="{}"), Blocked),
    ],
    ids=["truncated", "503", "hang", "401", "451"],
)
def test_batch_when_the_provider_fails_once_then_the_error_has_its_class_and_the_next_try_completes(
    store: Store, query: Query, batch: Batch, fault: Fault, error: type[Exception]
) -> None:
    with _with(store, fault) as url:
        resolve = store.resolver(url)
        with pytest.raises(error, match="binance"):
            pipeline.run(batch, resolve)
        assert _counts(query, batch) == {}
        pipeline.run(batch, resolve)
    assert _counts(query, batch) == {SPOT: HOURS, PERPETUAL: HOURS}
    assert _refusals(query, batch) == []


def test_batch_when_rate_limited_in_the_middle_then_says_for_how_long_and_goes_on_where_it_was(
    store: Store, query: Query, batch: Batch
) -> None:
    limited = Fault("rate_limit", host="fapi.binance.com", path="/fapi/v1/klines", count=1, retry_after=17)
    with _with(store, limited) as url:
        with pytest.raises(RateLimited) as refused:
            pipeline.run(batch, store.resolver(url))
        assert refused.value.retry_after == 17
        assert len(_bodies(query, store, batch)) == 1
    # The host stays closed to this process for the seconds asked: the next try is another worker's, at another address.
    with _with(store) as url:
        pipeline.run(batch, store.resolver(url))
        assert _asked(url) == 1
    assert _counts(query, batch) == {SPOT: HOURS, PERPETUAL: HOURS}


def _asked(url: str) -> int:
    import requests

    state = requests.get(f"{url}/_control/state", timeout=5).json()
    return sum(number for where, number in state["requests"].items() if where.endswith("klines"))


def test_batch_when_pages_are_empty_then_the_gate_refuses_bars_that_must_exist(
    store: Store, query: Query, batch: Batch
) -> None:
    with _with(store, Fault("empty")) as url, pytest.raises(GateFailed, match="refused"):
        pipeline.run(batch, store.resolver(url))
    assert _counts(query, batch) == {}
    assert _bodies(query, store, batch) == [b"[]", b"[]"]


def test_batch_when_a_body_is_larger_than_allowed_then_it_is_not_read_to_its_end(
    store: Store, query: Query, batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    from coinswarm.sources import http

    monkeypatch.setattr(http, "MAX_BODY_BYTES", 10_000)
    with _with(store, Fault("status", host=SPOT_HOST, status=200, body="[" + " " * 1_000_000 + "]")) as url:
        pipeline.run(batch, store.resolver(url))
    assert _counts(query, batch) == {PERPETUAL: HOURS}
    ((symbol, field, _, reason, key),) = _refusals(query, batch)
    assert (symbol, field, key) == (SPOT, "response", None)
    assert "larger than" in str(reason)


def test_backfill_when_a_chunk_is_refused_then_the_others_are_published_and_the_same_run_asks_for_it_again(
    store: Store, query: Query, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "SLOTS_PER_CHUNK", 24)
    window = Window(NOW - timedelta(days=63), NOW - timedelta(days=60))

    def chunks(resolve: Resolver) -> list[backfill.Chunk]:
        return backfill.plan(
            "binance", "ohlcv", window, run_id="refused", resolve=resolve, symbols=(SPOT,), timeframe="1h"
        )

    with _with(store, Fault("status", host=SPOT_HOST, status=200, body="<html>", count=1)) as url:
        resolve = store.resolver(url)
        states = backfill.work(chunks(resolve), resolve)
        assert [next(states).number, next(states).number] == [2, 3]
        with pytest.raises(GateFailed, match=f"1 of 3 chunks .* {window.start:%F}"):
            next(states)
        assert [chunk.done for chunk in chunks(resolve)] == [False, True, True]
        assert [state.number for state in backfill.work(chunks(resolve), resolve)] == [1]
        assert all(chunk.done for chunk in chunks(resolve))
    days = "select event_at::date, count(*)::int from raw.ohlcv where event_at >= %s and event_at < %s group by 1"
    assert [number for _, number in query(days, window.start, window.end)] == [24, 24, 24]


def test_secret_when_a_provider_echoes_it_then_it_reaches_neither_error_nor_store(
    store: Store, query: Query, batch: Batch
) -> None:
    secret = "a-secret-that-nobody-may-see"

    with _with(store, Fault("status", host=SPOT_HOST, status=400, body=f'{{"msg":"key {secret}"}}')) as url:
        resolve = store.resolver(url)

        def with_key(conn_id: str) -> Connection:
            found = resolve(conn_id)
            return replace(found, password=secret) if conn_id == "http_binance" else found

        pipeline.run(batch, with_key)
    assert secret not in str(_refusals(query, batch))
    assert "key ***" in str(_refusals(query, batch))
