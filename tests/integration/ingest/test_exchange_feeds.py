"""Feeds of every exchange through all four steps of a batch into `raw`, as their DAGs would run them.

Of the bars only one length: the others differ in nothing that a batch sees, and the gate takes its second each time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from tests.integration.conftest import Store

from coinswarm.connections import Resolver
from coinswarm.datasets import Domain
from coinswarm.ingest import pipeline
from coinswarm.ingest.plan import batch_of, expected_symbols, feed_named
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import SOURCES
from coinswarm.sources.spec import Mode
from coinswarm.timeframes import Window, duration, floor

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[object, ...]]]
# Real time, as the present state can only be asked for now; it stands still for the stand-ins.
NOW = datetime.now(UTC)
FEEDS = [
    (spec.slug, feed.name)
    for spec in SOURCES.values()
    if spec.domain is Domain.EXCHANGES
    for feed in spec.feeds
    if feed.scheduled and feed.timeframe in ("", "15m")
]


@pytest.fixture(scope="module")
def resolve(store: Store) -> Iterator[Resolver]:
    with running(clock=Clock(NOW)) as url:
        yield store.resolver(url)


@pytest.mark.parametrize(("slug", "name"), FEEDS)
def test_batch_when_the_last_interval_is_asked_then_published_and_again_unchanged(
    resolve: Resolver, query: Query, slug: str, name: str
) -> None:
    spec = SOURCES[slug]
    feed = feed_named(spec, name)
    end = floor(NOW, feed.cadence.period)
    window = Window(end - feed.cadence.period, end)
    batch = batch_of(spec, feed, window, dag_id=f"ingest__{slug}", run_id="one")
    first = pipeline.run(batch, resolve)
    again = pipeline.run(batch_of(spec, feed, window, dag_id=f"ingest__{slug}", run_id="two"), resolve)
    assert first["inserted"] == first["staged"]
    assert (again["inserted"], again["unchanged"]) == (0, first["staged"])
    assert query("select * from quarantine.records where source = %s", slug) == []

    symbols = {
        str(symbol)
        for (symbol,) in query(
            f"select distinct symbol from raw.{feed.dataset} where batch_id = %s", str(batch.batch_id)
        )
    }
    asked = set(expected_symbols(spec, feed, window))
    if slug == "coinbase":
        # A quiet pair may have had no trade in a short interval.
        assert symbols <= asked
        assert "BTC-USD" in symbols
    elif asked and (feed.mode is Mode.NOW or feed.dataset != "funding_rates"):
        assert symbols == asked
    if feed.dataset == "ohlcv" and slug != "coinbase":
        assert first["staged"] == len(asked) * (feed.cadence.period // duration(feed.timeframe))
