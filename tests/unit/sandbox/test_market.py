"""The simulated market: deterministic, consistent between lengths, venues and datasets."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal

import pytest

from coinswarm.sandbox.market import options
from coinswarm.sandbox.market.listings import LISTINGS
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Bar, Listing
from coinswarm.sandbox.market.revisions import Revision, Revisions
from coinswarm.sandbox.market.simulated import SimulatedMarket
from coinswarm.sandbox.protocol import Clock

pytestmark = pytest.mark.unit

NOW = 1_790_000_123_456
AMOUNTS = ("base", "quote", "contracts", "taker_base", "taker_quote")
PERPETUALS = [listing for listing in LISTINGS if listing.perpetual]


def market(seed: int = 5, now: int = NOW) -> SimulatedMarket:
    clock = Clock()
    clock.set_milliseconds(now)
    return SimulatedMarket(seed, clock, Revisions())


def name(listing: Listing) -> str:
    return f"{listing.venue}-{listing.market}-{listing.symbol}"


def combined(bars: list[Bar]) -> tuple[str, Decimal, Decimal, str, int, list[Decimal]]:
    return (
        bars[0].open,
        max(Decimal(bar.high) for bar in bars),
        min(Decimal(bar.low) for bar in bars),
        bars[-1].close,
        sum(bar.trades for bar in bars),
        [sum(Decimal(getattr(bar, field)) for bar in bars) for field in AMOUNTS],
    )


@pytest.mark.parametrize("listing", LISTINGS, ids=name)
@pytest.mark.parametrize(("short", "long"), [(MINUTE, 15 * MINUTE), (MINUTE, HOUR), (15 * MINUTE, HOUR), (HOUR, DAY)])
def test_bars_when_shorter_ones_are_added_up_then_they_equal_the_longer(
    listing: Listing, short: int, long: int
) -> None:
    source = market()
    start = NOW // DAY * DAY - 2 * DAY
    whole = source.bars(listing, long, start, start + 2 * long)
    parts = source.bars(listing, short, start, start + 2 * long)
    assert len(whole) == 2
    assert len(parts) == 2 * long // short
    for bar in whole:
        inside = [part for part in parts if bar.open_ms <= part.open_ms < bar.open_ms + long]
        assert combined(inside) == combined([bar])


@pytest.mark.parametrize("step", [MINUTE, 15 * MINUTE, HOUR, 8 * HOUR, DAY, 7 * DAY])
def test_bars_when_asked_in_another_order_and_split_then_they_are_the_same(step: int) -> None:
    listing = LISTINGS[0]
    start = NOW // step * step - 30 * step
    first = market()
    later_first = first.bars(listing, step, start + 10 * step, start + 31 * step)
    earlier = first.bars(listing, step, start, start + 10 * step)
    assert earlier + later_first == market().bars(listing, step, start, start + 31 * step)
    assert market(seed=6).bars(listing, step, start, start + 31 * step) != earlier + later_first


@pytest.mark.parametrize("listing", LISTINGS, ids=name)
def test_bars_when_any_then_high_and_low_hold_and_amounts_are_plausible(listing: Listing) -> None:
    bars = market().bars(listing, MINUTE, NOW - 3 * HOUR, NOW)
    for bar in bars:
        opened, high, low, closed = (Decimal(value) for value in bar[1:5])
        assert 0 < low <= min(opened, closed) <= max(opened, closed) <= high
        assert Decimal(bar.taker_base) <= Decimal(bar.base)
        assert (Decimal(bar.base) > 0) == (bar.trades > 0)
        if bar.trades:
            average = Decimal(bar.quote) / Decimal(bar.base)
            assert low * Decimal("0.999999") <= average <= high * Decimal("1.000001")
        tick = Decimal(listing.tick)
        assert all(Decimal(value) % tick == 0 for value in bar[1:5])


def test_bars_when_the_last_is_open_then_it_lies_in_the_range_of_its_final_form() -> None:
    listing = LISTINGS[0]
    start = NOW // HOUR * HOUR
    running = market().bars(listing, HOUR, start, NOW + 1)[-1]
    final = market(now=NOW + HOUR).bars(listing, HOUR, start, NOW)[-1]
    assert running.open_ms == final.open_ms == start
    assert running.open == final.open
    assert Decimal(final.low) <= Decimal(running.low) <= Decimal(running.high) <= Decimal(final.high)
    assert 0 < Decimal(running.base) < Decimal(final.base)


def test_bars_when_they_would_open_in_the_future_then_there_are_none() -> None:
    source = market()
    assert source.bars(LISTINGS[0], MINUTE, NOW + 1, NOW + HOUR) == []
    assert source.bars(LISTINGS[0], HOUR, 0, LISTINGS[0].since) == []


def test_bars_when_weekly_then_they_open_on_monday() -> None:
    for bar in market().bars(LISTINGS[0], 7 * DAY, NOW - 60 * DAY, NOW):
        assert (bar.open_ms // DAY + 3) % 7 == 0


def test_bars_when_of_other_venues_then_prices_differ_little() -> None:
    source = market()
    closes = {
        name(x): Decimal(source.bars(x, HOUR, NOW - 2 * HOUR, NOW - HOUR)[-1].close)
        for x in LISTINGS
        if x.base == "BTC" and x.quote != "BTC"
    }
    for one, other in itertools.combinations(closes.values(), 2):
        assert abs(one / other - 1) < Decimal("0.006")
    assert len(set(closes.values())) > len(closes) // 2


@pytest.mark.parametrize("listing", PERPETUALS, ids=name)
def test_funding_when_the_perpetual_trades_above_its_index_then_longs_pay(listing: Listing) -> None:
    source = market()
    events = source.funding(listing, NOW - 60 * DAY, NOW + DAY)
    assert [e.at_ms % (listing.funding_hours * HOUR) for e in events] == [0] * len(events)
    assert len(events) == pytest.approx(60 * 24 / listing.funding_hours, abs=1)
    spot = next(x for x in LISTINGS if x.venue == "binance" and x.market == "spot" and x.base == listing.base)
    if listing.quote != "USDT" or listing.funding_hours != 8:
        return
    errors = []
    for event in events:
        perpetual = source.bars(listing, 15 * MINUTE, event.at_ms - 8 * HOUR, event.at_ms)
        index = source.bars(spot, 15 * MINUTE, event.at_ms - 8 * HOUR, event.at_ms)
        basis = sum(float(p.open) / float(i.open) - 1 for p, i in zip(perpetual, index, strict=True)) / len(index)
        expected = basis + min(max(1e-4 - basis, -5e-4), 5e-4)
        errors.append(abs(float(event.rate) - expected))
    # The index is one spot venue here, which has a small basis of its own.
    assert sum(errors) / len(errors) < 6e-5
    assert max(errors) < 4e-4


def test_quote_when_funding_is_near_then_the_estimate_nears_the_payment() -> None:
    listing = PERPETUALS[0]
    payment = NOW // (8 * HOUR) * 8 * HOUR
    estimate = market(now=payment - 1).quote(listing)
    paid = market(now=payment).funding(listing, payment, payment + 1)[0]
    assert estimate.next_funding_ms == payment
    assert float(estimate.funding) == pytest.approx(float(paid.rate), abs=2e-6)


def test_open_interest_when_asked_alone_or_in_a_range_then_it_is_the_same() -> None:
    listing = PERPETUALS[0]
    source = market()
    whole = source.interest(listing, 5 * MINUTE, NOW - DAY, NOW)
    assert source.interest(listing, 5 * MINUTE, whole[7].at_ms, whole[7].at_ms + 1) == [whole[7]]
    assert len(whole) == 288
    assert float(whole[0].usd) == pytest.approx(
        float(whole[0].base) * float(source.mark_at(listing, whole[0].at_ms)), rel=1e-4
    )


def test_taker_volumes_when_asked_then_they_are_those_of_the_bars() -> None:
    listing = PERPETUALS[0]
    source = market()
    ratios = source.ratios(listing, "taker_volume", 15 * MINUTE, NOW - HOUR, NOW)
    bars = {bar.open_ms: bar for bar in source.bars(listing, 15 * MINUTE, NOW - HOUR, NOW)}
    assert ratios
    for ratio in ratios:
        bar = bars[ratio.at_ms]
        assert Decimal(ratio.long) == Decimal(bar.taker_base)
        assert Decimal(ratio.long) + Decimal(ratio.short) == Decimal(bar.base)


@pytest.mark.parametrize("asset", ["BTC", "ETH"])
def test_options_when_thirty_days_at_the_money_then_their_volatility_is_the_index(asset: str) -> None:
    source = market()
    quotes = source.options(asset)
    index = source.volatility(asset, HOUR, NOW // HOUR * HOUR, NOW + 1)[-1].close

    def distance(quote: object) -> float:
        q = quote
        days = (q.option.expires_ms - NOW) / DAY  # type: ignore[attr-defined]
        return abs(math.log(days / 30)) + 20 * abs(math.log(q.option.strike / q.forward))  # type: ignore[attr-defined]

    nearest = min(quotes, key=distance)
    assert nearest.mark_iv == pytest.approx(index, rel=0.06)
    assert all(5 <= quote.mark_iv <= 400 for quote in quotes)


def test_options_when_call_and_put_of_a_strike_then_parity_holds() -> None:
    pairs: dict[tuple[int, int], dict[bool, float]] = {}
    forwards = {}
    for quote in market().options("BTC"):
        key = (quote.option.expires_ms, quote.option.strike)
        pairs.setdefault(key, {})[quote.option.call] = quote.mark
        forwards[key] = quote.forward
    for (expires, strike), marks in pairs.items():
        forward = forwards[expires, strike]
        assert marks[True] - marks[False] == pytest.approx(1 - strike / forward, abs=3e-6)


def test_options_when_listed_then_all_live_and_expire_at_eight() -> None:
    listed = options.listed(5, "BTC", NOW)
    assert len({option.name for option in listed}) == len(listed)
    assert all(option.expires_ms > NOW and option.expires_ms % DAY == 8 * HOUR for option in listed)


def test_volatility_when_hourly_then_bars_join_and_match_realised_volatility() -> None:
    source = market()
    bars = source.volatility("BTC", HOUR, NOW - 90 * DAY, NOW)
    assert all(late.open == early.close for early, late in itertools.pairwise(bars))
    closes = [float(bar.close) for bar in source.bars(LISTINGS[0], HOUR, NOW - 90 * DAY, NOW)]
    returns = [math.log(b / a) for a, b in itertools.pairwise(closes)]
    realised = 100 * math.sqrt(sum(r * r for r in returns) / len(returns) * 24 * 365)
    assert sum(bar.close for bar in bars) / len(bars) == pytest.approx(realised, rel=0.35)


def test_revision_when_added_then_only_that_field_of_that_bar_changes() -> None:
    clock = Clock()
    clock.set_milliseconds(NOW)
    revisions = Revisions()
    source = SimulatedMarket(5, clock, revisions)
    listing = LISTINGS[0]
    start = NOW // HOUR * HOUR - 5 * HOUR
    before = source.bars(listing, HOUR, start, NOW)
    revisions.add(Revision(listing.venue, listing.market, listing.symbol, HOUR, start + HOUR, "close", before[1].high))
    after = source.bars(listing, HOUR, start, NOW)
    assert after[1] == before[1]._replace(close=before[1].high)
    assert [*after[:1], *after[2:]] == [*before[:1], *before[2:]]


@pytest.mark.parametrize(("field", "value"), [("trades", "1"), ("close", "NaN"), ("close", "much")])
def test_revision_when_field_or_value_is_wrong_then_it_is_refused(field: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"field|value"):
        Revision("binance", "spot", "BTCUSDT", HOUR, 0, field, value)
