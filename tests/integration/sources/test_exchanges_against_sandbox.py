"""Every exchange feed, from request to records, against the sandbox: complete, and consistent with its other feeds.

The sandbox derives all endpoints of all venues from one market, so that what two feeds say about the same hour has to
agree. Units (contracts, coin, dollars), page limits, open ends and newest-first pages show up here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from coinswarm.connections import Connection
from coinswarm.datasets import Domain, dataset_named
from coinswarm.datasets.records import Record
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import SOURCES
from coinswarm.sources.fetch import Fetcher, fetcher
from coinswarm.sources.parsing import natural_key, parse_payload
from coinswarm.sources.spec import Feed, Mode
from coinswarm.timeframes import Window, duration

pytestmark = pytest.mark.integration

# In the past of every machine that runs this, so that nothing is in the future; a little after midnight, so that the
# newest bar of every length is open.
NOW = datetime(2025, 6, 11, 0, 7, 30, tzinfo=UTC)
MIDNIGHT = NOW.replace(minute=0, second=0)
DAY = timedelta(days=1)
EXCHANGES = sorted(slug for slug, spec in SOURCES.items() if spec.domain is Domain.EXCHANGES)


@dataclass(frozen=True)
class Venue:
    """One source, connected to the sandbox."""

    slug: str
    fetch: Fetcher

    def feed(self, name: str) -> Feed:
        return next(feed for feed in SOURCES[self.slug].feeds if feed.name == name)

    def ask(self, feed: Feed, instrument: Instrument | None, window: Window) -> list[Record]:
        """Records of all pages, oldest first; a rejected row fails the test."""
        records = []
        for request in feed.requests(instrument, window):
            fetched = self.fetch.get(request)
            for outcome in parse_payload(feed.parse, fetched.body, request.received(fetched.received_at)):
                assert isinstance(outcome, Record), outcome
                records.append(outcome)
        return sorted(records, key=lambda record: (record.event_at, record.symbol))


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with running(clock=Clock(NOW)) as url:
        yield url


@pytest.fixture(scope="module")
def venues(sandbox: str) -> dict[str, Venue]:
    # The sandbox is ours: the venues' budgets would only make the test slow.
    extra = {"requests_per_second": 2000}
    return {
        slug: Venue(slug, fetcher(SOURCES[slug], Connection(f"http_{slug}", host=sandbox, extra=extra)))
        for slug in EXCHANGES
    }


def _covered(slug: str, feed: Feed) -> list[Instrument]:
    return [i for i in INSTRUMENTS.of(slug, kinds=feed.kinds) if not feed.markets or i.market in feed.markets]


def _cases(dataset: str, *, mode: Mode = Mode.INTERVAL) -> list[object]:
    return [
        pytest.param(slug, feed.name, instrument, id=f"{slug}-{feed.name}-{instrument.symbol}")
        for slug in EXCHANGES
        for feed in SOURCES[slug].feeds
        if feed.dataset == dataset and feed.mode is mode and feed.timeframe != "8h"
        for instrument in _covered(slug, feed)
    ]


def _yesterday(feed: Feed) -> Window:
    """The last day that the venue answers in full."""
    start = MIDNIGHT - DAY
    if feed.history is not None and NOW - feed.history > start:
        start = MIDNIGHT - (feed.history // timedelta(hours=1) - 1) * timedelta(hours=1)
    return Window(start, MIDNIGHT)


def _assert_each_key_once(feed: Feed, records: list[Record]) -> None:
    dataset = dataset_named(feed.dataset)
    keys = [natural_key(dataset, record) for record in records]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize(("slug", "name", "instrument"), _cases("ohlcv"))
def test_bars_when_a_day_is_asked_then_every_slot_is_there_once(
    venues: dict[str, Venue], slug: str, name: str, instrument: Instrument
) -> None:
    venue = venues[slug]
    feed = venue.feed(name)
    window = _yesterday(feed)
    bars = venue.ask(feed, instrument, window)
    _assert_each_key_once(feed, bars)
    slots = list(window.grid(duration(feed.timeframe)))
    opened = [bar.event_at for bar in bars]
    if slug == "coinbase":
        # Coinbase leaves out intervals without a trade.
        assert set(opened) <= set(slots)
        assert len(opened) > 0.6 * len(slots)
    else:
        assert opened == slots
    assert {bar.symbol for bar in bars} == {instrument.symbol}
    assert all(bar.final for bar in bars)
    for bar in bars:
        values = bar.values
        assert values["low"] <= min(values["open"], values["close"])
        assert values["high"] >= max(values["open"], values["close"])


@pytest.mark.parametrize(
    ("fine", "coarse", "length"), [("1m", "15m", DAY // 8), ("1m", "1h", DAY // 4), ("1h", "1d", 3 * DAY)]
)
@pytest.mark.parametrize(
    ("slug", "instrument"),
    [
        pytest.param(slug, instrument, id=f"{slug}-{instrument.market}-{instrument.symbol}")
        for slug in EXCHANGES
        for instrument in INSTRUMENTS.of(slug)
    ],
)
def test_bars_when_short_ones_are_joined_then_they_are_the_long_ones(
    venues: dict[str, Venue], slug: str, instrument: Instrument, fine: str, coarse: str, length: timedelta
) -> None:
    venue = venues[slug]
    feeds = {
        feed.timeframe: feed
        for feed in SOURCES[slug].feeds
        if feed.dataset == "ohlcv" and instrument in _covered(slug, feed)
    }
    window = Window(MIDNIGHT - length, MIDNIGHT)
    step = duration(coarse)
    parts = defaultdict(list)
    for bar in venue.ask(feeds[fine], instrument, window):
        parts[bar.event_at - (bar.event_at - window.start) % step].append(bar.values)
    whole = {bar.event_at: bar.values for bar in venue.ask(feeds[coarse], instrument, window)}
    assert whole
    assert parts.keys() == whole.keys()
    for opened, joined in parts.items():
        bar = whole[opened]
        assert bar["open"] == joined[0]["open"]
        assert bar["close"] == joined[-1]["close"]
        assert bar["high"] == max(part["high"] for part in joined)
        assert bar["low"] == min(part["low"] for part in joined)
        for column in ("volume_base", "volume_quote", "taker_buy_base", "taker_buy_quote"):
            if bar.get(column) is not None:
                total = sum((part[column] for part in joined), Decimal(0))
                # Deribit and the inverse contracts state rounded coin volumes per bar.
                assert abs(bar[column] - total) <= Decimal("0.00001") * max(total, Decimal(1)), column
        if bar.get("trade_count") is not None:
            assert bar["trade_count"] == sum(part["trade_count"] for part in joined)


@pytest.mark.parametrize(
    ("slug", "name", "instrument"), [case for case in _cases("ohlcv") if "ohlcv_1h" in str(case.values[1])]
)
def test_bars_when_both_volumes_are_given_then_their_ratio_is_a_price_of_the_bar(
    venues: dict[str, Venue], slug: str, name: str, instrument: Instrument
) -> None:
    venue = venues[slug]
    feed = venue.feed(name)
    for bar in venue.ask(feed, instrument, _yesterday(feed)):
        values = bar.values
        if values.get("volume_quote") is None or not values["volume_base"]:
            continue
        mean_price = values["volume_quote"] / values["volume_base"]
        assert values["low"] * Decimal("0.999") <= mean_price <= values["high"] * Decimal("1.001")


@pytest.mark.parametrize(("slug", "name", "instrument"), _cases("ohlcv"))
def test_bars_when_the_newest_is_asked_then_it_is_marked_open_or_left_out(
    venues: dict[str, Venue], slug: str, name: str, instrument: Instrument
) -> None:
    venue = venues[slug]
    feed = venue.feed(name)
    step = duration(feed.timeframe)
    opened = MIDNIGHT + (NOW - MIDNIGHT) // step * step
    window = Window(opened - step, opened + step)
    (request,) = feed.requests(instrument, window)
    fetched = venue.fetch.get(request)
    # As if read at the sandbox's time: the clock of this machine is long after every bar.
    outcomes = list(parse_payload(feed.parse, fetched.body, request.received(NOW)))
    closed = [o.event_at for o in outcomes if isinstance(o, Record) and o.final]
    still_open = [o.event_at for o in outcomes if isinstance(o, Record) and not o.final]
    assert len(outcomes) == len(closed) + len(still_open)
    assert set(closed) <= {opened - step}
    assert set(still_open) <= {opened}
    assert closed or slug == "coinbase"


@pytest.mark.parametrize(("slug", "name", "instrument"), _cases("funding_rates"))
def test_settled_funding_when_three_days_are_asked_then_the_intervals_fill_them(
    venues: dict[str, Venue], slug: str, name: str, instrument: Instrument
) -> None:
    venue = venues[slug]
    feed = venue.feed(name)
    window = Window(MIDNIGHT - 3 * DAY, MIDNIGHT)
    settled = venue.ask(feed, instrument, window)
    _assert_each_key_once(feed, settled)
    assert sum(record.values["interval_hours"] for record in settled) == 72
    assert all(window.start <= record.event_at < window.end for record in settled)
    assert all(
        record.event_at.minute == record.event_at.second == record.event_at.microsecond == 0 for record in settled
    )
    assert {record.values["kind"] for record in settled} == {"settled"}
    assert all(abs(record.values["rate"]) < Decimal("0.005") for record in settled)
    assert any(record.values["rate"] for record in settled)
    for record in settled:
        exact = record.values.get("settled_at")
        assert exact is None or abs(exact - record.event_at) < timedelta(seconds=1)


@pytest.mark.parametrize(("slug", "name", "instrument"), _cases("funding_rates", mode=Mode.NOW))
def test_predicted_funding_when_asked_then_it_is_about_the_coming_settlement(
    venues: dict[str, Venue], slug: str, name: str, instrument: Instrument
) -> None:
    venue = venues[slug]
    (predicted,) = venue.ask(venue.feed(name), instrument, Window(MIDNIGHT, MIDNIGHT + timedelta(minutes=15)))
    assert predicted.values["kind"] == "predicted"
    assert predicted.symbol == instrument.symbol
    ahead = predicted.event_at - NOW
    assert timedelta(0) < ahead <= timedelta(hours=float(predicted.values["interval_hours"]))
    assert 0 < abs(predicted.values["rate"]) < Decimal("0.005")


def _price(venue: Venue, instrument: Instrument) -> Decimal:
    feed = next(
        feed
        for feed in SOURCES[venue.slug].feeds
        if feed.name.startswith("ohlcv_1h") and instrument in _covered(venue.slug, feed)
    )
    close: Decimal = venue.ask(feed, instrument, Window(MIDNIGHT - timedelta(hours=1), MIDNIGHT))[-1].values["close"]
    return close


@pytest.mark.parametrize(
    ("slug", "name", "instrument"), _cases("open_interest") + _cases("open_interest", mode=Mode.NOW)
)
def test_open_interest_when_asked_then_dollars_are_base_units_at_the_price(
    venues: dict[str, Venue], slug: str, name: str, instrument: Instrument
) -> None:
    venue = venues[slug]
    feed = venue.feed(name)
    window = Window(MIDNIGHT - timedelta(hours=1), MIDNIGHT)
    rows = venue.ask(feed, instrument, window)
    _assert_each_key_once(feed, rows)
    if feed.mode is Mode.NOW:
        (row,) = rows
        assert abs(row.event_at - NOW) < timedelta(seconds=5)
    else:
        assert [row.event_at for row in rows] == list(window.grid(timedelta(minutes=15)))
    price = _price(venue, instrument)
    for row in rows:
        base, dollars = row.values["open_interest_base"], row.values.get("open_interest_usd")
        assert base > 0
        assert dollars is None or abs(dollars / base / price - 1) < Decimal("0.05")


def test_open_interest_when_venues_are_compared_then_they_count_one_side_in_the_same_unit(
    venues: dict[str, Venue],
) -> None:
    base = {}
    for case in _cases("open_interest") + _cases("open_interest", mode=Mode.NOW):
        slug, name, instrument = case.values
        if instrument.base == "BTC" and not instrument.inverse:
            window = Window(MIDNIGHT - timedelta(minutes=15), MIDNIGHT)
            base[slug] = venues[slug].ask(venues[slug].feed(name), instrument, window)[-1].values["open_interest_base"]
    assert len(base) >= 3
    # The sandbox gives every venue about half a day of its own volume: thousands to hundreds of thousands of bitcoin.
    assert max(base.values()) / min(base.values()) < 60, base


@pytest.mark.parametrize(("slug", "name", "instrument"), _cases("long_short_ratios"))
def test_long_short_ratios_when_asked_then_shares_and_ratio_agree(
    venues: dict[str, Venue], slug: str, name: str, instrument: Instrument
) -> None:
    venue = venues[slug]
    feed = venue.feed(name)
    window = Window(MIDNIGHT - timedelta(hours=3), MIDNIGHT)
    rows = venue.ask(feed, instrument, window)
    _assert_each_key_once(feed, rows)
    by_kind = defaultdict(list)
    for row in rows:
        by_kind[row.values["ratio_kind"]].append(row)
    assert by_kind
    for kind, series in by_kind.items():
        assert [row.event_at for row in series] == list(window.grid(timedelta(minutes=15))), kind
        for row in series:
            long, short = row.values.get("long_share"), row.values.get("short_share")
            assert row.values["ratio"] > 0
            if long is not None and short is not None:
                assert abs(long / short - row.values["ratio"]) < Decimal("0.002") * row.values["ratio"] + Decimal(
                    "0.0005"
                )
                assert kind == "taker_volume" or abs(long + short - 1) < Decimal("0.001")


def test_option_quotes_when_asked_then_a_surface_around_the_perpetual(venues: dict[str, Venue]) -> None:
    venue = venues["deribit"]
    quotes = venue.ask(venue.feed("option_quotes"), None, Window(MIDNIGHT - timedelta(hours=1), MIDNIGHT))
    _assert_each_key_once(venue.feed("option_quotes"), quotes)
    for base in ("BTC", "ETH"):
        own = [quote.values for quote in quotes if quote.values["underlying"] == base]
        price = _price(venue, INSTRUMENTS.get("deribit", f"{base}-USD-PERP"))
        assert len({quote["expires_at"] for quote in own}) >= 4
        assert {quote["option_type"] for quote in own} == {"call", "put"}
        assert min(quote["strike"] for quote in own) < price < max(quote["strike"] for quote in own)
        for quote in own:
            assert quote["expires_at"] > NOW
            assert 5 < quote["mark_iv_pct"] < 400
            assert abs(quote["underlying_price"] / price - 1) < Decimal("0.2")
            assert quote["bid_price"] is None or quote["ask_price"] is None or quote["bid_price"] <= quote["ask_price"]
    assert all(abs(quote.event_at - NOW) < timedelta(seconds=5) for quote in quotes)
    assert all(quote.symbol.startswith(quote.values["underlying"] + "-") for quote in quotes)


def test_volatility_index_when_two_months_are_asked_then_every_hour_is_there_once(venues: dict[str, Venue]) -> None:
    venue = venues["deribit"]
    window = Window(MIDNIGHT - 60 * DAY, MIDNIGHT)
    rows = venue.ask(venue.feed("volatility_indices"), None, window)
    for asset in ("BTC", "ETH"):
        own = [row for row in rows if row.symbol == asset]
        assert [row.event_at for row in own] == list(window.grid(timedelta(hours=1)))
        assert all(row.values["low_pct"] <= row.values["close_pct"] <= row.values["high_pct"] for row in own)
        assert all(5 < row.values["close_pct"] < 400 for row in own)
