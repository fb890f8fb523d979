"""What every feed asks: exactly its window, oldest first, in pages that the provider answers, from its own hosts."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinswarm.errors import UserError
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sources import SOURCES
from coinswarm.sources.exchanges._bars import pages
from coinswarm.sources.spec import Feed, Mode, Request, SourceSpec
from coinswarm.timeframes import EPOCH, Window, duration, floor, milliseconds

pytestmark = pytest.mark.contract

START = datetime(2026, 3, 10, tzinfo=UTC)
FEEDS = [(spec, feed) for spec in SOURCES.values() for feed in spec.feeds]


def _each(feeds: list[tuple[SourceSpec, Feed]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("spec", "feed"), feeds, ids=lambda v: getattr(v, "slug", None) or v.name)


every_feed = _each(FEEDS)
every_feed_of_bars = _each([(spec, feed) for spec, feed in FEEDS if feed.dataset == "ohlcv"])
every_feed_of_instruments = _each([(spec, feed) for spec, feed in FEEDS if feed.kinds])
# Parameters that say what is asked, not when.
SUBJECTS = ("currency", "stablecoin")


def _subjects(spec: SourceSpec, feed: Feed) -> list[Instrument | None]:
    if not feed.kinds:
        return [None]
    listed = INSTRUMENTS.of(spec.slug, kinds=feed.kinds)
    return [i for i in listed if not feed.markets or i.market in feed.markets]


def _asked(spec: SourceSpec, feed: Feed, window: Window) -> dict[str, list[Request]]:
    return {str(s and s.symbol): list(feed.requests(s, window)) for s in _subjects(spec, feed)}


def test_sources_when_listed_then_slugs_and_feed_names_are_unique() -> None:
    for spec in SOURCES.values():
        names = [feed.name for feed in spec.feeds]
        assert len(set(names)) == len(names)
        assert spec.requests_per_second > 0
        assert spec.docs_url.startswith("https://")
        assert spec.licence


@every_feed
@pytest.mark.parametrize("length", ["one interval", "three days"])
def test_requests_when_window_is_given_then_they_cover_it_without_hole_or_overlap(
    spec: SourceSpec, feed: Feed, length: str
) -> None:
    window = Window(START, START + (feed.cadence.period if length == "one interval" else timedelta(days=3)))
    for requests in _asked(spec, feed, window).values():
        assert requests, "a window that starts on the grid asks something"
        spans = [(r.start, r.end) for r in requests]
        assert all(start and end and start < end for start, end in spans)
        if feed.mode is Mode.NOW:
            continue
        assert min(start for start, _ in spans if start) <= window.start
        assert max(end for _, end in spans if end) >= window.end
        for same in _grouped(requests).values():
            assert [r.start for r in same] == sorted(r.start for r in same if r.start), "oldest first"
            for before, after in pairwise(same):
                assert before.end == after.start, "pages touch"


def _grouped(requests: list[Request]) -> dict[Any, list[Request]]:
    groups: dict[Any, list[Request]] = defaultdict(list)
    for request in requests:
        subject = tuple(request.params.get(name) for name in SUBJECTS)
        groups[request.endpoint, request.venue_symbol, subject].append(request)
    return groups


@every_feed_of_bars
def test_requests_when_bars_are_asked_then_every_slot_is_asked_once_within_the_limit(
    spec: SourceSpec, feed: Feed
) -> None:
    step = duration(feed.timeframe)
    window = Window(floor(START, step), floor(START, step) + 1700 * step)
    for requests in _asked(spec, feed, window).values():
        slots = [slot for r in requests if r.start and r.end for slot in Window(r.start, r.end).grid(step)]
        assert slots == list(window.grid(step))
        for request in requests:
            assert request.timeframe == feed.timeframe
            limit = request.params.get("limit")
            if limit is not None and request.start and request.end:
                assert (request.end - request.start) / step <= int(limit)


@every_feed
def test_requests_when_made_then_they_survive_json_and_name_their_source(spec: SourceSpec, feed: Feed) -> None:
    window = Window(START, START + timedelta(days=1))
    for symbol, requests in _asked(spec, feed, window).items():
        for request in requests:
            assert Request.from_json(request.to_json()) == request
            assert (request.source, request.dataset) == (spec.slug, feed.dataset)
            assert request.received_at is None
            if feed.kinds:
                assert request.symbol == symbol
    assert _asked(spec, feed, window) == _asked(spec, feed, window), "the same question each time"


@every_feed
def test_requests_when_sent_then_they_go_to_hosts_of_the_source(spec: SourceSpec, feed: Feed) -> None:
    window = Window(START, START + feed.cadence.period)
    for requests in _asked(spec, feed, window).values():
        for request in requests:
            parts = urlsplit(_address(request))
            assert parts.scheme == "https"
            assert parts.hostname in spec.hosts


def _address(request: Request) -> str:
    if not request.client:
        return request.endpoint
    import ccxt

    exchange = getattr(ccxt, request.client)({"enableRateLimit": False})
    exchange.fetch = lambda url, *_args, **_kwargs: url
    return str(getattr(exchange, request.endpoint)(dict(request.params)))


@every_feed_of_instruments
def test_requests_when_instrument_is_missing_then_the_feed_says_so(spec: SourceSpec, feed: Feed) -> None:
    with pytest.raises(UserError):
        list(feed.requests(None, Window(START, START + timedelta(days=1))))


# ---- the pages of all regular feeds


@given(
    start=st.datetimes(datetime(2015, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),
    minutes=st.integers(1, 10_000),
    step=st.sampled_from([1, 15, 60, 480, 1440]),
    limit=st.integers(1, 1500),
)
def test_pages_when_window_is_any_then_they_hold_its_slots_once(
    start: datetime, minutes: int, step: int, limit: int
) -> None:
    window, length = Window(start, start + timedelta(minutes=minutes)), timedelta(minutes=step)
    made = list(pages(window, length, limit))
    assert [slot for page in made for slot in page.grid(length)] == list(window.grid(length))
    assert all((page.start - EPOCH) % length == timedelta(0) for page in made)
    assert all((page.end - page.start) / length <= limit for page in made)


# ---- what single venues insist on


def _only(source: str, feed_name: str, symbol: str, window: Window) -> list[Request]:
    feed = next(feed for feed in SOURCES[source].feeds if feed.name == feed_name)
    return list(feed.requests(INSTRUMENTS.get(source, symbol), window))


def test_binance_when_coinm_bars_are_asked_then_no_page_is_longer_than_200_days() -> None:
    asked = _only("binance", "ohlcv_1d", "BTC-USD-PERP", Window(START - timedelta(days=900), START))
    assert all(r.end - r.start <= timedelta(days=200) for r in asked if r.start and r.end)
    assert {r.endpoint for r in asked} == {"dapiPublicGetKlines"}


@pytest.mark.parametrize(("source", "late"), [("binance", "endTime"), ("bybit", "endTime"), ("okx", "after")])
def test_settled_funding_when_asked_then_the_page_begins_before_its_window_and_ends_with_it(
    source: str, late: str
) -> None:
    window = Window(START + timedelta(hours=16), START + timedelta(hours=17))
    (request,) = _only(source, "funding_rates_settled", "BTC-USDT-PERP", window)
    early = {"endTime": "startTime", "after": "before"}[late]
    assert milliseconds(window.end) - 1 <= int(request.params[late]) <= milliseconds(window.end)
    assert int(request.params[early]) <= milliseconds(window.start - timedelta(hours=8))
    assert (request.start, request.end) == (window.start, window.end)


def test_bybit_when_funding_is_asked_then_start_never_stands_without_end() -> None:
    for request in _only("bybit", "funding_rates_settled", "BTC-USDT-PERP", Window(START, START + timedelta(days=60))):
        assert {"startTime", "endTime", "category", "symbol"} <= set(request.params)
        assert (int(request.params["endTime"]) - int(request.params["startTime"])) / 3_600_000 <= 200


def test_okx_when_days_are_asked_then_they_are_utc_days() -> None:
    (request,) = _only("okx", "ohlcv_1d", "BTC-USDT", Window(START, START + timedelta(days=1)))
    assert request.params["bar"] == "1Dutc"
    assert int(request.params["before"]) < milliseconds(START) < int(request.params["after"])


@pytest.mark.parametrize("source", ["okx", "bybit"])
def test_bars_of_8h_when_the_venue_has_none_then_no_dag_asks_them(source: str) -> None:
    spec = SOURCES[source]
    assert "ohlcv_8h" in [feed.name for feed in spec.feeds]
    assert "ohlcv_8h" not in [feed.name for cadence in spec.cadences for feed in spec.feeds_at(cadence)]
