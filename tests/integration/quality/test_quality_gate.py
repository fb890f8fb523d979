"""The gate on real PostgreSQL, as role ingest: each rule has a bad sample, and good batches pass."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from tests.conftest import Warehouse
from tests.integration.quality.staged import START, batch_for, good_rows, stage_rows

from coinswarm.batches import Batch
from coinswarm.datasets import STORED, Severity, dataset_named
from coinswarm.quality.checks import Check, Scope
from coinswarm.quality.gate import VERDICT, GateReport, run_gate
from coinswarm.quality.suites import suite_of, validate
from coinswarm.storage.database import connect

pytestmark = pytest.mark.integration

QUARTER = timedelta(minutes=15)


def gate(warehouse: Warehouse, batch: Batch, rows: list[dict[str, Any]], *expected: str) -> GateReport:
    stage_rows(warehouse.ingest, batch, rows)
    return run_gate(warehouse.ingest, batch, expected_symbols=expected)


def read(warehouse: Warehouse, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with connect(warehouse.auditor, autocommit=True) as session:
        return session.execute(query, parameters).fetchall()


def kept(warehouse: Warehouse, batch: Batch) -> list[int]:
    query = f"select row_no from staging.{batch.dataset} where batch_id = %s order by 1"
    return [row_no for (row_no,) in read(warehouse, query, batch.batch_id)]


def quarantined(warehouse: Warehouse, batch: Batch) -> list[tuple[Any, ...]]:
    return read(
        warehouse,
        "select row_no, field, reason, stage, payload, landing_key, symbol from quarantine.records"
        " where batch_id = %s order by row_no",
        batch.batch_id,
    )


@pytest.mark.parametrize("dataset", [dataset.name for dataset in STORED])
def test_gate_passes_a_good_batch_of_every_dataset(warehouse: Warehouse, dataset: str) -> None:
    batch = batch_for(dataset)
    rows = good_rows(batch)
    report = gate(warehouse, batch, rows)
    assert report.passed, report.summary()
    assert (report.failures, report.warnings, report.quarantined) == ((), (), 0), report.summary()
    assert kept(warehouse, batch) == list(range(len(rows)))


def test_gate_stores_every_result_and_the_score(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=4)
    report = gate(warehouse, batch, good_rows(batch), "BTC-USDT")
    stored = read(
        warehouse,
        "select expectation, success, severity, element_count, unexpected_count from ops.quality_results"
        " where batch_id = %s and suite = 'binance.ohlcv_15m'",
        batch.batch_id,
    )
    names = {name for name, *_ in stored}
    assert names == {VERDICT, *(c.name for c in suite_of(dataset_named("ohlcv"), batch, ("BTC-USDT",)).checks)}
    assert all(success for _, success, *_ in stored)
    assert ("close.range", True, "block", 4, 0) in stored
    (score,) = read(warehouse, "select * from ops.quality_scores where batch_id = %s", batch.batch_id)
    # completeness, timeliness (a backfill is not judged), validity, consistency, uniqueness, score
    assert score[2:8] == (1, None, 1, 1, 1, 1)
    assert report.score == score[7]


# dataset, change of one row, check that must name it, field in quarantine
BAD_ROWS: list[tuple[str, Mapping[str, Any], str, str]] = [
    ("ohlcv", {"close": Decimal("-1")}, "close.range", "close"),
    ("ohlcv", {"open": Decimal(0)}, "open.range", "open"),
    ("ohlcv", {"volume_base": Decimal("NaN")}, "volume_base.finite", "volume_base"),
    ("ohlcv", {"volume_base": Decimal("Infinity")}, "volume_base.finite", "volume_base"),
    ("ohlcv", {"close": None}, "close.not_null", "close"),
    ("ohlcv", {"high": Decimal("99.9")}, "high_is_highest", "row"),
    ("ohlcv", {"low": Decimal("100.5")}, "low_is_lowest", "row"),
    ("ohlcv", {"taker_buy_base": Decimal("12.6")}, "taker_within_volume", "row"),
    ("ohlcv", {"timeframe": "2m"}, "timeframe.allowed", "timeframe"),
    ("ohlcv", {"timeframe": "1h"}, "timeframe.asked", "timeframe"),
    ("ohlcv", {"source": "okx"}, "source.asked", "source"),
    ("ohlcv", {"event_at": START + timedelta(seconds=1)}, "event_at.aligned", "event_at"),
    ("ohlcv", {"event_at": START - QUARTER}, "event_at.in_window", "event_at"),
    ("ohlcv", {"event_at": START + timedelta(days=9)}, "event_at.in_window", "event_at"),
    ("ohlcv", {"received_at": START}, "event_at.closed", "event_at"),
    ("ohlcv", {"available_basis": "guessed"}, "available_basis.allowed", "available_basis"),
    ("ohlcv", {"schema_version": 99}, "schema_version.allowed", "schema_version"),
    ("funding_rates", {"rate": Decimal("1.5")}, "rate.range", "rate"),
    ("funding_rates", {"interval_hours": Decimal(0)}, "interval_hours.range", "interval_hours"),
    ("funding_rates", {"kind": "guessed"}, "kind.allowed", "kind"),
    ("funding_rates", {"event_at": START + timedelta(days=9)}, "event_at.in_window", "event_at"),
    ("open_interest", {"open_interest_base": Decimal(-1)}, "open_interest_base.range", "open_interest_base"),
    ("long_short_ratios", {"period": "2h"}, "period.allowed", "period"),
    ("option_quotes", {"expires_at": START - timedelta(days=1)}, "not_expired", "row"),
    ("option_quotes", {"delta": Decimal("1.01")}, "delta.range", "delta"),
    ("volatility_indices", {"high_pct": Decimal(40)}, "high_is_highest", "row"),
    ("articles", {"tone": Decimal(101)}, "tone.range", "tone"),
    ("articles", {"url": None}, "url.not_null", "url"),
    ("tvl", {"tvl_usd": Decimal(-5)}, "tvl_usd.range", "tvl_usd"),
    ("stablecoin_supply", {"circulating": None}, "circulating.not_null", "circulating"),
    ("series_observations", {"value": Decimal("NaN")}, "value.finite", "value"),
    ("market_caps", {"dominance_pct": Decimal("100.5")}, "dominance_pct.range", "dominance_pct"),
    ("trades", {"price": Decimal(0)}, "price.range", "price"),
    ("trades", {"side": "long"}, "side.allowed", "side"),
    ("trades", {"event_at": START + timedelta(days=9)}, "event_at.in_window", "event_at"),
    ("liquidations", {"price_kind": "guessed"}, "price_kind.allowed", "price_kind"),
    ("order_books", {"spread_bps": Decimal("NaN")}, "spread_bps.finite", "spread_bps"),
    ("trade_bars", {"sell_base": Decimal(3)}, "sides_are_all", "row"),
    ("trade_bars", {"event_at": START + timedelta(seconds=1)}, "event_at.aligned", "event_at"),
]


@pytest.mark.parametrize("dataset", [dataset.name for dataset in STORED])
def test_gate_sets_bad_rows_aside_and_keeps_the_rest(warehouse: Warehouse, dataset: str) -> None:
    samples = [sample for sample in BAD_ROWS if sample[0] == dataset]
    number = 8 * len(samples)
    batch = batch_for(dataset, slots=number)
    rows = good_rows(batch)
    # Without a grid: the same record for several instruments.
    rows = rows if len(rows) == number else [{**rows[0], "symbol": f"BTC{i}-USDT-PERP"} for i in range(number)]
    bad = {8 * i + 3: sample for i, sample in enumerate(samples)}
    for row_no, (_, change, *_) in bad.items():
        rows[row_no] = {**rows[row_no], **change}
    report = gate(warehouse, batch, rows)
    assert report.passed, report.summary()
    assert report.quarantined == len(bad)
    assert kept(warehouse, batch) == [row_no for row_no in range(number) if row_no not in bad]
    refused = quarantined(warehouse, batch)
    assert [row_no for row_no, *_ in refused] == list(bad)
    for row_no, where, reason, stage, payload, landing_key, symbol in refused:
        _, _, check, field = bad[row_no]
        assert check in reason
        # A row may break two rules; the field is that of the first in the suite.
        assert where == field or "; " in reason
        assert (stage, landing_key, symbol) == ("gate", "landing/x.json.zst", rows[row_no]["symbol"])
        assert payload["symbol"] == rows[row_no]["symbol"]
    assert {check for _, _, check, _ in samples} <= {finding.check for finding in report.failures}


def test_every_dataset_has_a_bad_sample() -> None:
    assert {sample[0] for sample in BAD_ROWS} == {dataset.name for dataset in STORED}


def test_gate_quarantines_a_row_once_with_all_its_reasons(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=8)
    rows = good_rows(batch)
    rows[2] = {**rows[2], "close": Decimal(-1), "volume_base": Decimal(-2)}
    gate(warehouse, batch, rows)
    ((_, field, reason, *_),) = quarantined(warehouse, batch)
    assert field == "close"
    assert [part.split(":")[0] for part in reason.split("; ")] == [
        "close.range",
        "volume_base.range",
        "low_is_lowest",
        "taker_within_volume",
    ]


def test_gate_keeps_exact_decimals_in_quarantine(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=8)
    rows = good_rows(batch)
    rows[2]["close"] = Decimal("-0.123456789012345678901234567890")
    gate(warehouse, batch, rows)
    ((text,),) = read(
        warehouse, "select payload ->> 'close' from quarantine.records where batch_id = %s", batch.batch_id
    )
    assert text == "-0.123456789012345678901234567890"


def test_gate_sets_both_of_two_differing_copies_aside(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=12)
    rows = good_rows(batch)
    report = gate(warehouse, batch, [*rows, {**rows[5], "close": Decimal("101.1")}], "BTC-USDT")
    assert report.passed
    assert [row_no for row_no, *_ in quarantined(warehouse, batch)] == [5, 12]
    # and the slot shows as missing
    assert [(w.check, w.event_at) for w in report.warnings] == [("calendar.complete", rows[5]["event_at"])]


def test_gate_warns_of_equal_copies_and_keeps_them(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=8)
    rows = good_rows(batch)
    report = gate(warehouse, batch, [*rows, rows[5]], "BTC-USDT")
    assert report.passed
    assert {w.check for w in report.warnings} == {"natural_key.unique"}
    assert len(kept(warehouse, batch)) == 9
    ((uniqueness,),) = read(warehouse, "select uniqueness from ops.quality_scores where batch_id = %s", batch.batch_id)
    assert uniqueness == Decimal("0.888889")


def test_gate_takes_a_missing_publication_date_for_one_value_of_the_key(warehouse: Warehouse) -> None:
    batch = batch_for("series_observations")
    row = good_rows(batch)[0]
    others = [{**row, "series_id": f"S{i}"} for i in range(12)]
    report = gate(warehouse, batch, [row, {**row, "value": Decimal("4.2")}, *others])
    assert report.quarantined == 2, report.summary()


def test_gate_accepts_tombstones_without_values(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=2)
    rows = good_rows(batch)
    values = dict.fromkeys(("open", "high", "low", "close", "volume_base", "taker_buy_base"))
    report = gate(warehouse, batch, [rows[0], {**rows[1], **values, "is_tombstone": True}], "BTC-USDT")
    assert report.passed, report.summary()
    assert report.quarantined == 0


def test_gate_refuses_a_batch_with_more_than_a_fifth_of_its_rows_bad(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=10)
    rows = [{**row, "close": Decimal(-1)} if i < 3 else row for i, row in enumerate(good_rows(batch))]
    report = gate(warehouse, batch, rows, "BTC-USDT")
    assert not report.passed
    assert "30% of its 10 rows are quarantined, more than 20%" in report.summary()
    assert "close=-1" in report.summary()
    assert report.score == 0
    ((stored,),) = read(
        warehouse,
        "select success from ops.quality_results where batch_id = %s and expectation = %s",
        batch.batch_id,
        VERDICT,
    )
    assert stored is False


def test_gate_accepts_a_batch_with_just_a_fifth_of_its_rows_bad(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=10)
    rows = [{**row, "close": Decimal(-1)} if i < 2 else row for i, row in enumerate(good_rows(batch))]
    assert gate(warehouse, batch, rows, "BTC-USDT").passed


def test_gate_counts_rows_that_were_refused_when_parsed(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=4)
    with connect(warehouse.ingest, autocommit=True) as session:
        for row_no in range(2):
            session.execute(
                "insert into quarantine.records (batch_id, source, dataset, row_no, field, reason, stage, landing_key)"
                " values (%s, 'binance', 'ohlcv', %s, 'close', 'missing', 'parse', 'landing/x.json.zst')",
                [batch.batch_id, row_no],
            )
    report = gate(warehouse, batch, good_rows(batch), "BTC-USDT")
    assert not report.passed
    assert "33% of its 6 rows" in report.summary()
    assert "close: missing" in report.summary()


def test_gate_run_again_says_the_same_and_quarantines_nothing_twice(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=10)
    rows = good_rows(batch)
    rows[4]["close"] = Decimal(-1)
    first = gate(warehouse, batch, rows, "BTC-USDT")
    again = run_gate(warehouse.ingest, batch, expected_symbols=("BTC-USDT",))
    staged_again = gate(warehouse, batch, rows, "BTC-USDT")
    verdicts = {
        (report.passed, report.score, report.rows, report.quarantined) for report in (first, again, staged_again)
    }
    assert len(verdicts) == 1
    assert len(quarantined(warehouse, batch)) == 1
    times = read(warehouse, "select distinct checked_at from ops.quality_results where batch_id = %s", batch.batch_id)
    assert len(times) == 3


def test_gate_keeps_refusing_a_refused_batch(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=4)
    rows = [{**row, "close": Decimal(-1)} if i < 2 else row for i, row in enumerate(good_rows(batch))]
    assert not gate(warehouse, batch, rows, "BTC-USDT").passed
    assert not run_gate(warehouse.ingest, batch, expected_symbols=("BTC-USDT",)).passed


def test_gate_does_not_touch_other_batches(warehouse: Warehouse) -> None:
    other, batch = batch_for("ohlcv", slots=4), batch_for("ohlcv", slots=8)
    stage_rows(warehouse.ingest, other, [{**row, "close": Decimal(-1)} for row in good_rows(other)])
    rows = good_rows(batch)
    rows[1]["close"] = Decimal(-1)
    gate(warehouse, batch, rows)
    assert kept(warehouse, other) == [0, 1, 2, 3]


def test_gate_passes_an_empty_batch_of_which_nothing_was_expected(warehouse: Warehouse) -> None:
    batch = batch_for("funding_rates", variant="settled", window=batch_for("ohlcv", slots=4).window)
    report = gate(warehouse, batch, [], "BTC-USDT-PERP")
    assert report.passed, report.summary()
    assert report.score is None
    assert read(warehouse, "select 1 from ops.quality_scores where batch_id = %s", batch.batch_id) == []


def test_gate_refuses_an_empty_batch_of_which_bars_were_expected(warehouse: Warehouse) -> None:
    report = gate(warehouse, batch_for("ohlcv", slots=4), [], "BTC-USDT")
    assert not report.passed
    assert report.score == 0
    assert "4 missing (all)" in report.summary()


@pytest.mark.parametrize(
    ("missing", "words"),
    [({0, 1}, "2 missing (leading)"), ({6, 7}, "2 missing (trailing)"), ({3}, "1 missing (middle)")],
)
def test_gate_warns_of_a_gap_and_lowers_the_score(warehouse: Warehouse, missing: set[int], words: str) -> None:
    batch = batch_for("ohlcv", slots=8)
    rows = [row for i, row in enumerate(good_rows(batch)) if i not in missing]
    report = gate(warehouse, batch, rows, "BTC-USDT")
    assert report.passed
    assert words in report.summary()
    ((completeness,),) = read(
        warehouse, "select completeness from ops.quality_scores where batch_id = %s", batch.batch_id
    )
    assert completeness == Decimal(8 - len(missing)) / 8
    assert report.score is not None
    assert report.score < 1


def test_gate_sees_a_symbol_that_sent_nothing(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=4)
    report = gate(warehouse, batch, good_rows(batch, "BTC-USDT"), "BTC-USDT", "ETH-USDT")
    assert report.passed
    assert [(w.symbol, w.description.split(",")[0]) for w in report.warnings] == [("ETH-USDT", "4 missing (all)")]


def test_gate_refuses_bars_of_which_less_than_half_came(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=8)
    assert not gate(warehouse, batch, good_rows(batch)[:3], "BTC-USDT").passed
    batch = batch_for("ohlcv", slots=8)
    assert gate(warehouse, batch, good_rows(batch)[:4], "BTC-USDT").passed


def test_gate_lets_a_quiet_market_leave_out_minutes(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=15, timeframe="1m")
    assert gate(warehouse, batch, good_rows(batch)[:2], "BTC-USDT").passed
    assert not gate(warehouse, batch_for("ohlcv", slots=15, timeframe="1m"), [], "BTC-USDT").passed


def test_gate_warns_of_an_instrument_that_nobody_asked_for(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", slots=2)
    report = gate(warehouse, batch, good_rows(batch, "BTC-USDT", "DOGE-USDT"), "BTC-USDT")
    assert {(w.check, w.symbol) for w in report.warnings} == {("symbol.asked", "DOGE-USDT")}


def test_gate_expects_settlements_at_the_interval_of_the_venue(warehouse: Warehouse) -> None:
    window = replace(
        batch_for("ohlcv").window, start=START.replace(hour=0), end=START.replace(hour=0) + timedelta(days=1)
    )
    batch = batch_for("funding_rates", variant="settled", window=window)
    row = good_rows(batch)[0]
    rows = [{**row, "event_at": window.start}, {**row, "event_at": window.start + timedelta(hours=16)}]
    report = gate(warehouse, batch, rows, "BTC-USDT-PERP")
    assert report.passed
    assert [(w.check, w.event_at) for w in report.warnings] == [
        ("calendar.complete", window.start + timedelta(hours=8))
    ]


def test_gate_lets_a_predicted_rate_be_about_the_future(warehouse: Warehouse) -> None:
    batch = batch_for("funding_rates", variant="predicted")
    row = {**good_rows(batch)[0], "kind": "predicted", "event_at": START + timedelta(hours=8)}
    report = gate(warehouse, batch, [row], "BTC-USDT-PERP")
    assert report.passed
    assert report.warnings == ()


def test_gate_warns_of_a_suspicious_rate(warehouse: Warehouse) -> None:
    batch = batch_for("funding_rates")
    report = gate(warehouse, batch, [{**good_rows(batch)[0], "rate": Decimal("-0.06")}])
    assert report.passed
    assert [w.check for w in report.warnings] == ["rate_is_plausible"]


def test_gate_warns_of_a_stale_reading(warehouse: Warehouse) -> None:
    batch = batch_for("open_interest")
    report = gate(warehouse, batch, [{**good_rows(batch)[0], "event_at": START - timedelta(hours=5)}])
    assert [w.check for w in report.warnings] == ["event_at.in_window"]


def test_gate_accepts_restated_history(warehouse: Warehouse) -> None:
    batch = batch_for("tvl")
    row = good_rows(batch)[0]
    report = gate(warehouse, batch, [{**row, "event_at": START - timedelta(days=400)}, row])
    assert report.passed
    assert report.warnings == ()


def test_gate_warns_of_a_scheduled_batch_that_is_late(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv", dag_id="ingest__binance__15m")
    rows = [{**row, "received_at": START + QUARTER + timedelta(hours=1)} for row in good_rows(batch)]
    report = gate(warehouse, batch, rows, "BTC-USDT")
    assert [w.check for w in report.warnings] == ["received_at.on_time"]
    ((timeliness,),) = read(warehouse, "select timeliness from ops.quality_scores where batch_id = %s", batch.batch_id)
    assert timeliness == Decimal("0.5")  # 30 minutes are allowed, it took 60


def test_gate_caps_the_score_of_what_nobody_can_verify(warehouse: Warehouse) -> None:
    batch = batch_for("articles")
    assert gate(warehouse, batch, good_rows(batch)).score == Decimal("0.5")


def test_gate_keeps_passwords_out_of_its_results(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv")
    gate(warehouse, batch, [{**good_rows(batch)[0], "close": Decimal(-1)}], "BTC-USDT")
    stored = read(warehouse, "select observed from ops.quality_results where batch_id = %s", batch.batch_id)
    assert warehouse.ingest.password not in json.dumps(stored)


def test_gate_leaves_no_session_behind(warehouse: Warehouse) -> None:
    batch = batch_for("ohlcv")
    gate(warehouse, batch, good_rows(batch), "BTC-USDT")
    with connect(warehouse.owner, autocommit=True) as session:
        (left,) = session.execute(
            "select count(*) from pg_stat_activity where datname = current_database() and usename = 'ingest'"
        ).fetchone() or (None,)
    assert left == 0


def test_checks_when_run_then_not_by_nested_loops(warehouse: Warehouse) -> None:
    # With statistics from before the batch was staged, 20,000 rows took a minute.
    batch = batch_for("ohlcv")
    stage_rows(warehouse.ingest, batch, good_rows(batch))
    setting = "select row_no from {batch} where current_setting('enable_nestloop') = "
    checks = tuple(Check(value, "", Scope.BATCH, Severity.WARN, "", f"{setting}'{value}'") for value in ("on", "off"))
    suite = replace(suite_of(dataset_named("ohlcv"), batch), checks=checks)
    assert [outcome.success for outcome in validate(warehouse.ingest, suite)] == [True, False]
