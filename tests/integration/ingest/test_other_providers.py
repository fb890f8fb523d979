"""GDELT, DefiLlama, FRED and CoinGecko through all four steps of a batch into `raw`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from tests.integration.conftest import Store

from coinswarm.connections import Connection, Resolver
from coinswarm.ingest import pipeline
from coinswarm.ingest.plan import batch_of, feed_named
from coinswarm.sandbox.faults import Fault
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import source_named
from coinswarm.timeframes import Window, floor

pytestmark = pytest.mark.integration

Query = Callable[..., list[tuple[object, ...]]]
# Real time, as the present state can only be asked for now; it stands still for the stand-ins.
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def resolve(store: Store) -> Iterator[Resolver]:
    with running(clock=Clock(NOW)) as url:
        yield store.resolver(url)


def _ingest(slug: str, feed_name: str, resolve: Resolver, *, back: int = 0, run_id: str = "one") -> dict[str, object]:
    spec = source_named(slug)
    feed = feed_named(spec, feed_name)
    period = feed.cadence.period
    end = floor(NOW, period) - back * period
    batch = batch_of(spec, feed, Window(end - period, end), dag_id=f"ingest__{slug}", run_id=run_id)
    return pipeline.run(batch, resolve)


@pytest.mark.parametrize(
    ("slug", "feed"),
    [
        ("gdelt", "articles"),
        ("defillama", "tvl"),
        ("defillama", "stablecoin_supply"),
        ("fred", "series_observations"),
        ("coingecko", "market_caps"),
    ],
)
def test_batch_when_run_then_published_and_again_then_unchanged(
    resolve: Resolver, query: Query, slug: str, feed: str
) -> None:
    # Ninety minutes of news, so that a quiet quarter does not matter.
    for back in range(6 if slug == "gdelt" else 1):
        first = _ingest(slug, feed, resolve, back=back)
        again = _ingest(slug, feed, resolve, back=back, run_id="two")
        assert first["inserted"] == first["staged"]
        assert (again["inserted"], again["unchanged"]) == (0, first["staged"])
    dataset = feed_named(source_named(slug), feed).dataset
    ((rows,),) = query(f"select count(*) from raw.{dataset} where source = %s", slug)
    assert isinstance(rows, int)
    assert rows > 0
    assert query("select count(*) from quarantine.records where source = %s", slug) == [(0,)]


def test_articles_when_published_then_only_crypto_and_each_with_assets_as_json(resolve: Resolver, query: Query) -> None:
    _ingest("gdelt", "articles", resolve, back=20)
    titles = [title for (title,) in query("select title from raw.articles_current")]
    assert titles
    assert not [title for title in titles if "bridge" in str(title) or "ETH Zurich" in str(title)]
    ((arrays,),) = query("select bool_and(jsonb_typeof(assets) = 'array') from raw.articles")
    assert arrays is True


def test_articles_when_old_file_never_was_then_an_empty_batch_is_published(store: Store, query: Query) -> None:
    missing = Fault("status", host="data.gdeltproject.org", status=404, body="NoSuchKey")
    with running(clock=Clock(NOW), faults=[missing]) as url:
        published = _ingest("gdelt", "articles", store.resolver(url), back=300)
    assert (published["staged"], published["inserted"]) == (0, 0)


def test_series_when_a_key_comes_later_then_vintages_join_what_had_none(resolve: Resolver, query: Query) -> None:
    _ingest("fred", "series_observations", resolve, run_id="keyless")
    before = query("select series_id, event_at, value from raw.series_observations_current where published_at is null")

    def with_key(conn_id: str) -> Connection:
        found = resolve(conn_id)
        return replace(found, password="a-key") if conn_id == "http_fred" else found

    _ingest("fred", "series_observations", with_key, run_id="keyed")
    after = query("select series_id, event_at, value from raw.series_observations_current where published_at is null")
    assert sorted(after, key=str) == sorted(before, key=str)
    ((vintages, early),) = query(
        "select count(*), count(*) filter (where available_at <= event_at + interval '1 day')"
        " from raw.series_observations where published_at is not null"
    )
    assert isinstance(vintages, int)
    assert vintages > len(before)
    assert early == 0
    assert query("select count(*) from ops.lake_objects where request::text like '%%a-key%%'") == [(0,)]


def test_market_caps_when_published_then_shares_are_exact_and_below_one_hundred(
    resolve: Resolver, query: Query
) -> None:
    _ingest("coingecko", "market_caps", resolve, run_id="shares")
    rows = query("select symbol, dominance_pct from raw.market_caps_current where dominance_pct is not null")
    shares = {str(symbol): share for symbol, share in rows}
    assert {"BTC", "ETH"} <= set(shares)
    assert all(isinstance(share, Decimal) for share in shares.values())
    assert sum(share for share in shares.values() if isinstance(share, Decimal)) < 100
    assert query("select count(*) from raw.market_caps_current where symbol = 'global'") == [(1,)]
