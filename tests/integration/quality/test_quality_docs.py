"""Data Docs from stored results, freshness from the ledger, and that queries and expectations agree."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from tests.conftest import Warehouse
from tests.integration.quality.staged import batch_for, good_rows, stage_rows

from coinswarm.batches import Batch
from coinswarm.connections import Connection
from coinswarm.datasets import dataset_named
from coinswarm.quality.docs import PREFIX, publish_data_docs, render_data_docs, upload_site
from coinswarm.quality.docs_pages import STYLES
from coinswarm.quality.freshness import FeedClock, State, read_freshness
from coinswarm.quality.gate import run_gate
from coinswarm.quality.suites import suite_of, validate
from coinswarm.storage.database import connect
from coinswarm.storage.lake import Lake
from coinswarm.storage.publish import publish
from coinswarm.storage.staging import Incoming, stage

pytestmark = pytest.mark.integration

SPOILT = {"close": Decimal(-1), "volume_base": Decimal("NaN"), "available_basis": "guessed"}
# Whatever a browser would fetch, run or follow out of the site.
OUTSIDE = re.compile(
    r"<(script|img|iframe|style|object|embed|base|svg)\b|(src|href|action|on\w+)=[\"'](https?:|//|javascript:)"
)


def gate(warehouse: Warehouse, batch: Batch, *, spoil: int = 0) -> None:
    rows = [{**row, **(SPOILT if i < spoil else {})} for i, row in enumerate(good_rows(batch))]
    stage_rows(warehouse.ingest, batch, rows)
    run_gate(warehouse.ingest, batch, expected_symbols=("BTC-USDT",) if batch.dataset == "ohlcv" else ())


def page(site: Path, suite: str) -> str:
    (found,) = (site / "validations" / suite.replace(".", "/")).rglob("*.html")
    return found.read_text()


def verdict(html: str) -> str:
    found = re.search(r'>Status:</span>\s*<span class="badge \w+">(\w+)<', html)
    assert found is not None
    return found.group(1)


def test_data_docs_show_the_latest_verdict_of_each_suite(warehouse: Warehouse, tmp_path: Path) -> None:
    gate(warehouse, batch_for("ohlcv", slots=4))
    gate(warehouse, batch_for("ohlcv", slots=4), spoil=2)
    gate(warehouse, batch_for("tvl", run_id="manual__2026-11-23T14:20:00+00:00#2"))
    site = tmp_path / "site"
    assert render_data_docs(warehouse.auditor, site) == 2
    bars = page(site, "binance.ohlcv_15m")
    assert "close is above 0." in bars
    assert "BTC-USDT" in bars
    assert "staging.ohlcv" in bars
    assert verdict(bars) == "failed"
    assert verdict(page(site, "binance.tvl")) == "passed"
    assert warehouse.ingest.password not in bars


def test_data_docs_index_lists_each_suite_with_its_verdict_and_a_link(warehouse: Warehouse, tmp_path: Path) -> None:
    gate(warehouse, batch_for("ohlcv", slots=4), spoil=2)
    gate(warehouse, batch_for("tvl"))
    render_data_docs(warehouse.auditor, tmp_path / "site")
    html = (tmp_path / "site" / "index.html").read_text()
    lines = {
        found["suite"]: (found["page"], re.sub(r"<[^>]+>", " ", found["rest"]).split())
        for found in re.finditer(r'<tr><td><a href="(?P<page>[^"]+)">(?P<suite>[^<]+)</a>(?P<rest>.*?)</tr>', html)
    }
    assert list(lines) == ["binance.ohlcv_15m", "binance.tvl"]
    for target, _ in lines.values():
        assert (tmp_path / "site" / target).is_file()
    _, bars = lines["binance.ohlcv_15m"]
    assert bars[2:7] == ["refused", "0.000000", "4", "2", "1"]
    assert " ".join(bars[7:]) == "50% of its 4 rows are quarantined, more than 20%"
    assert lines["binance.tvl"][1][2:] == ["passed", "0.500000", "1", "0", "0"]


def test_data_docs_ask_for_nothing_outside_even_if_a_provider_sends_markup(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    batch = batch_for("ohlcv", slots=4)
    hostile = "<script src='http://evil.test/x.js'></script><img src=//evil.test/y onerror=\"z()\">"
    rows = good_rows(batch)
    rows[0] = {**rows[0], "available_basis": hostile}
    stage_rows(warehouse.ingest, batch, rows)
    run_gate(warehouse.ingest, batch, expected_symbols=("BTC-USDT",))
    site = tmp_path / "site"
    render_data_docs(warehouse.auditor, site)
    pages = {path: path.read_text() for path in site.rglob("*.html")}
    assert "&lt;script src=&#x27;http://evil.test/x.js&#x27;&gt;" in page(site, "binance.ohlcv_15m"), (
        "it is shown, as text"
    )
    for path, html in pages.items():
        assert not OUTSIDE.search(html), path
        links = re.findall(r"""(?:src|href)=["']([^"'#]+)""", html)
        assert links
        for link in links:
            assert (path.parent / link).is_file(), (path, link)
    assert "url(" not in (site / STYLES).read_text()


def test_data_docs_show_severity_so_that_a_warning_is_told_from_a_refusal(warehouse: Warehouse, tmp_path: Path) -> None:
    gate(warehouse, batch_for("ohlcv", slots=4), spoil=2)
    render_data_docs(warehouse.auditor, tmp_path / "site")
    bars = page(tmp_path / "site", "binance.ohlcv_15m")
    assert re.search(r'close is above 0\. <span class="badge block">block<', bars)
    assert re.search(r'Nothing is missing: a bar per slot and symbol\. <span class="badge warn">warn<', bars)


def test_data_docs_rendered_again_replace_the_site_and_leave_nothing_beside(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    gate(warehouse, batch_for("tvl"))
    site = tmp_path / "site"
    render_data_docs(warehouse.auditor, site)
    (site / "stale.html").write_text("old")
    render_data_docs(warehouse.auditor, site)
    assert not (site / "stale.html").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["site"]


def test_data_docs_published_again_upload_only_what_changed(
    warehouse: Warehouse, lake_connection: Connection, tmp_path: Path
) -> None:
    gate(warehouse, batch_for("tvl"))
    site = tmp_path / "site"
    assert publish_data_docs(warehouse.auditor, lake_connection, site) >= 1
    assert upload_site(lake_connection, site) == 0
    files = [path for path in site.rglob("*") if path.is_file()]
    (site / "index.html").write_text("changed")
    gone = next(path for path in files if path.suffix == ".html" and path.name != "index.html")
    gone.unlink()
    assert upload_site(lake_connection, site) == 1
    client = Lake(lake_connection)._client
    keys = {found["Key"] for found in client.list_objects_v2(Bucket=lake_connection.schema, Prefix=PREFIX)["Contents"]}
    assert PREFIX + gone.relative_to(site).as_posix() not in keys
    answer = client.get_object(Bucket=lake_connection.schema, Key=f"{PREFIX}index.html")
    assert (answer["Body"].read(), answer["ContentType"]) == (b"changed", "text/html")


def test_expectations_and_their_queries_agree_on_every_check(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=8)
    rows = good_rows(batch)
    rows[0] = {**rows[0], "close": Decimal(-1), "volume_base": Decimal("NaN"), "available_basis": "guessed"}
    rows[1] = {**rows[1], "open": None, "timeframe": "1h", "schema_version": 7, "source": "okx"}
    stage_rows(warehouse.ingest, batch, [*rows, rows[5]])
    suite = suite_of(dataset_named("ohlcv"), batch, ("BTC-USDT",))
    outcomes = validate(warehouse.ingest, suite)
    assert [outcome.error for outcome in outcomes if outcome.error] == []
    with connect(warehouse.ingest, autocommit=True) as session:
        for outcome in outcomes:
            if outcome.check.rows:
                failing = session.execute(suite.over(outcome.check.rows)).fetchall()
                assert outcome.success == (not failing), outcome.check.name
    assert sum(not outcome.success for outcome in outcomes) >= 9


def test_freshness_reads_the_ledger_and_the_newest_event(warehouse: Warehouse, lake_connection: Connection) -> None:
    from coinswarm.datasets.records import Record

    batch = batch_for("ohlcv", slots=4)
    rows = good_rows(batch)
    clocks = [
        FeedClock("binance", "ohlcv_15m", "ohlcv", timedelta(minutes=15), "15m"),
        FeedClock("okx", "ohlcv_15m", "ohlcv", timedelta(minutes=15), "15m"),
        FeedClock("kraken", "ohlcv_15m", "ohlcv", timedelta(minutes=15), "15m", enabled=False),
    ]
    with connect(warehouse.ingest) as session:
        records = [
            Record("BTC-USDT", row["event_at"], {k: v for k, v in row.items() if k not in ("symbol", "event_at")})
            for row in rows
        ]
        stage(
            session,
            dataset_named("ohlcv"),
            batch,
            [Incoming(record, batch.window.end + timedelta(seconds=9), "landing/x.json.zst") for record in records],
        )
        assert run_gate(warehouse.ingest, batch, expected_symbols=("BTC-USDT",)).passed
        known_at = publish(session, Lake(lake_connection), batch).known_at
    # As if it were a minute after the publish: the events are of last month.
    first, second, third = read_freshness(warehouse.auditor, clocks, now=known_at + timedelta(minutes=1))
    assert (first.state, first.known_age) == (State.STALE, timedelta(minutes=1))
    assert (second.state, second.reason) == (State.STALE, "nothing was ever published")
    assert third.state is State.DISABLED
    # The gate on a published batch repeats what it said.
    assert run_gate(warehouse.ingest, batch, expected_symbols=("BTC-USDT",)).passed
    tolerant = FeedClock(
        "binance", "ohlcv_15m", "ohlcv", timedelta(minutes=15), "15m", event_limit=timedelta(days=1_000)
    )
    (fresh,) = read_freshness(warehouse.auditor, [tolerant], now=known_at + timedelta(minutes=1))
    assert fresh.state is State.FRESH
    assert fresh.event_age is not None
    assert fresh.event_age == known_at + timedelta(minutes=1) - rows[-1]["event_at"]
