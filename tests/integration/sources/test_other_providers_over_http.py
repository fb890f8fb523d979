"""GDELT, DefiLlama, FRED and CoinGecko end to end: requests, HTTP, parse, against the stand-ins of the sandbox."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from coinswarm.connections import Connection
from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import Unavailable
from coinswarm.registry import INSTRUMENTS
from coinswarm.sandbox.faults import Fault
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import source_named
from coinswarm.sources.fetch import fetcher
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.spec import Request
from coinswarm.timeframes import Window, floor

pytestmark = pytest.mark.integration

# The sandbox' now stands still, a little after a quarter began and before the day's first releases.
NOW = datetime(2026, 6, 17, 12, 7, tzinfo=UTC)
QUARTER = floor(NOW, timedelta(minutes=15))
DAY = floor(NOW, timedelta(days=1))
KEY = "k3y/with+signs"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with running(clock=Clock(NOW)) as url:
        yield url


def _connection(slug: str, url: str, key: str = "") -> Connection:
    return Connection(f"http_{slug}", host=url, password=key, extra={"requests_per_second": 500})


def _window(slug: str) -> Window:
    feed = source_named(slug).feeds[0]
    end = floor(NOW, feed.cadence.period)
    return Window(end - feed.cadence.period, end)


def _run(slug: str, url: str, window: Window, *, key: str = "") -> list[tuple[Request, list[Record]]]:
    spec = source_named(slug)
    fetch = fetcher(spec, _connection(slug, url, key))
    answers = []
    for feed in spec.feeds:
        for request in feed.requests(None, window):
            asked = fetch.prepare(request)
            fetched = fetch.get(asked)
            landed = Request.from_json(asked.received(fetched.received_at).to_json())
            outcomes = list(parse_payload(feed.parse, fetched.body, landed))
            assert not [outcome for outcome in outcomes if isinstance(outcome, Rejected)]
            answers.append((asked, [outcome for outcome in outcomes if isinstance(outcome, Record)]))
    return answers


@pytest.mark.parametrize("slug", ["gdelt", "defillama", "fred", "coingecko"])
def test_source_when_asked_for_its_newest_interval_then_every_request_has_records(sandbox: str, slug: str) -> None:
    answers = _run(slug, sandbox, _window(slug))
    assert answers
    for request, records in answers:
        assert records, request.endpoint
    assert answers == _run(slug, sandbox, _window(slug))


def test_gdelt_when_asked_then_archives_unpack_to_articles_of_the_stamp(sandbox: str) -> None:
    answers = _run("gdelt", sandbox, Window(QUARTER - timedelta(hours=3), QUARTER))
    assert len(answers) == 2 * 12
    keep = source_named("gdelt").feeds[0].keep
    assert keep is not None
    for request, records in answers:
        assert {record.event_at for record in records} == {request.end}
    kept = [record for _, records in answers for record in records if keep(record)]
    dropped = [record for _, records in answers for record in records if not keep(record)]
    assert {asset for record in kept for asset in record.values["assets"]} == {"BTC", "ETH", "SOL"}
    assert "ETH Zurich opens a laboratory for glaciers" in {record.values["title"] for record in dropped}
    for record in kept:
        assert record.values["tone"] == record.values["positive_pct"] - record.values["negative_pct"]


def test_gdelt_when_newest_file_is_missing_then_try_again_and_when_old_then_it_is_a_hole() -> None:
    missing = Fault("status", host="data.gdeltproject.org", status=404, body="NoSuchKey")
    spec = source_named("gdelt")
    quarter = floor(datetime.now(UTC), timedelta(minutes=15))
    with running(faults=[missing]) as url:
        fetch = fetcher(spec, _connection("gdelt", url))
        newest = next(iter(spec.feeds[0].requests(None, Window(quarter - timedelta(minutes=15), quarter))))
        with pytest.raises(Unavailable, match=r"gdelt/articles: 404 .* not there yet"):
            fetch.get(newest)
        old = quarter - timedelta(days=2)
        request = next(iter(spec.feeds[0].requests(None, Window(old - timedelta(minutes=15), old))))
        fetched = fetch.get(request)
    assert (fetched.status, fetched.body) == (404, b"")
    assert list(parse_payload(spec.feeds[0].parse, fetched.body, request.received(fetched.received_at))) == []


def test_defillama_when_days_pass_then_recent_days_are_restated_and_old_ones_stay() -> None:
    later = DAY + timedelta(days=3)
    with running(clock=Clock(DAY + timedelta(hours=1))) as url:
        before = _tvl(url, Window(DAY - timedelta(days=1), DAY))
    with running(clock=Clock(later + timedelta(hours=1))) as url:
        after = _tvl(url, Window(later - timedelta(days=1), later))
    common = sorted(before.keys() & after.keys())
    assert len(common) == 5
    changed = [day for day in common if before[day] != after[day]]
    assert changed == common[-2:]


def _tvl(url: str, window: Window) -> dict[datetime, Decimal]:
    _, records = _run("defillama", url, window)[0]
    return {record.event_at: record.values["tvl_usd"] for record in records}


def test_fred_when_connection_has_a_key_then_vintages_else_csv(sandbox: str) -> None:
    window = _window("fred")
    plain = {request.venue_symbol: (request, records) for request, records in _run("fred", sandbox, window)}
    keyed = {request.venue_symbol: (request, records) for request, records in _run("fred", sandbox, window, key=KEY)}
    assert plain.keys() == keyed.keys()
    for series_id, (request, records) in keyed.items():
        assert request.endpoint.startswith("https://api.stlouisfed.org/")
        assert KEY not in request.to_json()
        assert all(record.published_at and record.published_at >= record.event_at for record in records)
        newest = {record.event_at: record.values["value"] for record in records}
        assert newest == {record.event_at: record.values["value"] for record in plain[series_id][1]}
        assert {record.published_at for record in plain[series_id][1]} == {None}
    revised = keyed["CPIAUCSL"][1]
    assert len(revised) > len({record.event_at for record in revised})


def test_fred_when_key_is_sent_then_it_is_in_no_url_log_or_error(
    sandbox: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    spec = source_named("fred")
    fetch = fetcher(spec, _connection("fred", sandbox, KEY))
    asked = fetch.prepare(next(iter(spec.feeds[0].requests(None, _window("fred")))))
    fetched = fetch.get(asked)
    fault = Fault("server_error", host="api.stlouisfed.org")
    with running(clock=Clock(NOW), faults=[fault]) as broken, pytest.raises(Unavailable) as refused:
        fetcher(spec, _connection("fred", broken, KEY)).get(asked)
    # The stand-in's own log is the provider's, not ours.
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("coinswarm.sandbox")]
    assert any("api_key=***" in message for message in ours)
    for text in (fetched.url, *ours, str(refused.value), repr(refused.value)):
        assert KEY not in text
        assert "with%2Bsigns" not in text
    assert json.loads(fetched.body)["observations"]


def test_coingecko_when_asked_then_bitcoin_costs_what_the_market_says(sandbox: str) -> None:
    (_, totals), (_, coins) = _run("coingecko", sandbox, _window("coingecko"))
    total = next(record for record in totals if record.symbol == "global")
    share = {record.symbol: record.values["dominance_pct"] for record in totals if record.symbol != "global"}
    coin = {record.symbol: record.values for record in coins}
    assert total.event_at == NOW
    assert set(coin) == set(share)
    assert abs(coin["BTC"]["market_cap_usd"] / total.values["market_cap_usd"] * 100 - share["BTC"]) < Decimal("1e-9")

    coinbase = source_named("coinbase")
    fetch = fetcher(coinbase, _connection("coinbase", sandbox))
    feed = next(feed for feed in coinbase.feeds if feed.name == "ohlcv_1m")
    minute = floor(NOW, timedelta(minutes=1))
    prices = []
    window = Window(minute - timedelta(minutes=30), minute)
    for request in feed.requests(INSTRUMENTS.get("coinbase", "BTC-USD"), window):
        fetched = fetch.get(request)
        for bar in parse_payload(feed.parse, fetched.body, request.received(fetched.received_at)):
            assert isinstance(bar, Record)
            prices.append((bar.event_at, bar.values["close"]))
    last = max(prices)[1]
    assert abs(coin["BTC"]["price_usd"] / last - 1) < Decimal("0.01")
