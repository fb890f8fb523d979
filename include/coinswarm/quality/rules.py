"""Domain rules that no declaration states: times, windows, lateness, who was asked. Written by hand, once, here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum

from coinswarm.batches import Batch
from coinswarm.datasets import Dataset, Severity
from coinswarm.datasets.records import CLOCK_SKEW
from coinswarm.names import safe_name
from coinswarm.quality.calendar import COVERAGE, Coverage
from coinswarm.quality.checks import Check, Native, Scope, failing_rows, literal
from coinswarm.timeframes import TIMEFRAMES, duration

# A bar may be read this long before its close by our clock: venues and we are a few seconds apart.
BAR_SKEW = timedelta(seconds=10)
# A scheduled batch is late, and a live reading stale, after this many periods.
LATE_PERIODS = 2


class WindowRule(StrEnum):
    """What the batch's window says about the event times of a dataset."""

    STRICT = "only events of the window"
    LIVE = "events of the window, or the state at the time of reading"
    RESTATED = "all of history, whenever the provider restates it"


WINDOW_RULES: dict[str, WindowRule] = {
    "ohlcv": WindowRule.STRICT,
    "trades": WindowRule.STRICT,
    "liquidations": WindowRule.STRICT,
    "order_books": WindowRule.STRICT,
    "trade_bars": WindowRule.STRICT,
    "funding_rates": WindowRule.STRICT,  # settled ones; a predicted rate is about the next settlement
    "open_interest": WindowRule.LIVE,
    "long_short_ratios": WindowRule.LIVE,
    "option_quotes": WindowRule.LIVE,
    "volatility_indices": WindowRule.LIVE,
    "market_caps": WindowRule.LIVE,
    "articles": WindowRule.LIVE,
    "tvl": WindowRule.RESTATED,
    "stablecoin_supply": WindowRule.RESTATED,
    "series_observations": WindowRule.RESTATED,
}


def domain_checks(dataset: Dataset, batch: Batch, expected_symbols: tuple[str, ...]) -> Iterator[Check]:
    """Hand-written checks of one batch, besides calendar, outliers and venues."""
    yield Check(
        "source.asked",
        "source",
        Scope.RECORD,
        Severity.BLOCK,
        f"The row is of {batch.source}.",
        failing_rows(f"source <> {literal(batch.source)}"),
        Native("ExpectColumnValuesToBeInSet", {"column": "source", "value_set": [batch.source]}),
    )
    if batch.timeframe and "timeframe" in dataset.column_names:
        yield Check(
            "timeframe.asked",
            "timeframe",
            Scope.RECORD,
            Severity.BLOCK,
            f"The bar is a {batch.timeframe} bar, as asked.",
            failing_rows(f"timeframe <> {literal(batch.timeframe)}"),
            Native("ExpectColumnValuesToBeInSet", {"column": "timeframe", "value_set": [batch.timeframe]}),
        )
    if dataset.grid:
        yield from _bar_checks(dataset)
    yield from _window_checks(dataset, batch)
    if expected_symbols and COVERAGE.get(dataset.name) is not Coverage.UNKNOWN and dataset.name != "option_quotes":
        listed = ", ".join(literal(safe_name(symbol, what="symbol")) for symbol in expected_symbols)
        yield Check(
            "symbol.asked",
            "symbol",
            Scope.RECORD,
            Severity.WARN,
            "The row is of an instrument that was asked for.",
            failing_rows(f"symbol not in ({listed})"),
        )
    if is_scheduled(batch):
        latest = batch.window.end + LATE_PERIODS * (batch.window.end - batch.window.start)
        yield Check(
            "received_at.on_time",
            "received_at",
            Scope.BATCH,
            Severity.WARN,
            f"A scheduled batch is read within {LATE_PERIODS} periods after its window.",
            failing_rows(f"received_at > {literal(latest)}"),
        )


def is_scheduled(batch: Batch) -> bool:
    """True if the batch is an interval of an ingest DAG; a backfill is late by nature and not judged for it."""
    return batch.dag_id.startswith("ingest")


def _bar_checks(dataset: Dataset) -> Iterator[Check]:
    if dataset.grid in TIMEFRAMES:
        seconds = str(int(duration(dataset.grid).total_seconds()))
    else:
        cases = " ".join(f"when {literal(name)} then {int(span.total_seconds())}" for name, span in TIMEFRAMES.items())
        seconds = f"(case {dataset.grid} {cases} end)"
    yield Check(
        "event_at.aligned",
        "event_at",
        Scope.RECORD,
        Severity.BLOCK,
        "A bar opens on the grid of its timeframe.",
        failing_rows(f"mod(extract(epoch from event_at), {seconds}) <> 0"),
    )
    yield Check(
        "event_at.closed",
        "event_at",
        Scope.RECORD,
        Severity.BLOCK,
        "A bar is known only after its close: it was read after it had ended.",
        failing_rows(
            f"event_at + make_interval(secs => {seconds}) > received_at + {literal(BAR_SKEW)} and not is_tombstone"
        ),
    )


def _window_checks(dataset: Dataset, batch: Batch) -> Iterator[Check]:
    rule = WINDOW_RULES.get(dataset.name, WindowRule.RESTATED)
    start, end = literal(batch.window.start), literal(batch.window.end)
    if rule is WindowRule.STRICT:
        # A predicted funding rate is about the next settlement, which may lie after the window.
        only = "kind = 'settled' and " if dataset.name == "funding_rates" else ""
        yield Check(
            "event_at.in_window",
            "event_at",
            Scope.RECORD,
            Severity.BLOCK,
            f"event_at is in [{batch.window.start:%Y-%m-%d %H:%M}, {batch.window.end:%Y-%m-%d %H:%M}).",
            failing_rows(f"{only}(event_at < {start} or event_at >= {end})"),
        )
    elif rule is WindowRule.LIVE:
        oldest = batch.window.start - LATE_PERIODS * (batch.window.end - batch.window.start)
        yield Check(
            "event_at.in_window",
            "event_at",
            Scope.RECORD,
            Severity.WARN,
            "event_at is of the window or of the time of reading, and not stale.",
            failing_rows(
                f"event_at < {literal(oldest)} or event_at > greatest({end}, received_at + {literal(CLOCK_SKEW)})"
            ),
        )
