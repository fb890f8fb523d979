"""The trades behind the simulated bars: they add up to them, and are numbered over all time."""

from __future__ import annotations

import itertools
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinswarm.sandbox.market.listings import LISTINGS
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Bar, Listing
from coinswarm.sandbox.market.revisions import Revisions
from coinswarm.sandbox.market.simulated import SimulatedMarket
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Clock

pytestmark = pytest.mark.unit

NOW = 1_790_000_123_456
RATES = (0.01, 1.0, 20.0)


def market(now: int = NOW, rate: float = 1.0) -> SimulatedMarket:
    clock = Clock()
    clock.set_milliseconds(now)
    return SimulatedMarket(5, clock, Revisions(), rate)


MARKETS = {rate: market(rate=rate) for rate in RATES}


def listings(source: SimulatedMarket) -> list[Listing]:
    venues = dict.fromkeys(listing.venue for listing in LISTINGS)
    return [listing for venue in venues for listing in source.listings(venue)]


def of_minute(tape: Tape, minute: int) -> list[Trade]:
    return list(tape.between(minute * MINUTE * 1000, (minute + 1) * MINUTE * 1000))


def check(tape: Tape, bar: Bar, trades: list[Trade]) -> None:
    """What a bar says is what its trades say."""
    listing = tape.listing
    assert len(trades) == bar.trades
    prices = [trade.price for trade in trades]
    assert [tape.price(x) for x in (prices[0], max(prices), min(prices), prices[-1])] == list(bar[1:5])
    assert all(trade.lots > 0 for trade in trades)
    total = sum(trade.lots for trade in trades)
    bought = sum(trade.lots for trade in trades if trade.buy)
    if listing.inverse:
        assert Decimal(bar.quote) == total * Decimal(listing.contract)
        assert Decimal(bar.taker_quote) == bought * Decimal(listing.contract)
        assert bar.contracts == tape.contracts(total)
    else:
        assert bar.base == tape.size(total)
        assert bar.taker_base == tape.size(bought)
        if listing.perpetual:
            assert Decimal(bar.contracts) * Decimal(listing.contract) == Decimal(bar.base)
            assert tape.contracts(total) == bar.contracts
    turnover = sum(Decimal(tape.price(trade.price)) * trade.lots for trade in trades) / total
    assert turnover == pytest.approx(Decimal(bar.quote) / Decimal(bar.base), rel=Decimal("0.002"))


@settings(max_examples=120)
@given(
    rate=st.sampled_from(RATES),
    place=st.integers(0, len(LISTINGS) - 1),
    at=st.integers(1_760_000_000_000, NOW - HOUR),
)
def test_trades_when_of_any_minute_then_they_add_up_to_its_bar(rate: float, place: int, at: int) -> None:
    source = MARKETS[rate]
    listing = listings(source)[place]
    tape, minute = source.tape(listing), at // MINUTE
    trades = of_minute(tape, minute)
    (bar,) = source.bars(listing, MINUTE, minute * MINUTE, (minute + 1) * MINUTE)
    if trades:
        check(tape, bar, trades)
    else:
        assert (bar.trades, Decimal(bar.base)) == (0, 0)
    times = [trade.at_us for trade in trades]
    assert all(early < late for early, late in itertools.pairwise(times))
    assert [trade.id for trade in trades] == list(range(trades[0].id, trades[0].id + len(trades))) if trades else True


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda x: f"{x.venue}-{x.market}-{x.symbol}")
def test_trades_when_minutes_and_days_follow_each_other_then_numbers_do(listing: Listing) -> None:
    tape = MARKETS[1.0].tape(listing)
    midnight = NOW // DAY * DAY
    first, last = (midnight - 5 * MINUTE) * 1000, (midnight + 5 * MINUTE) * 1000
    trades = list(tape.between(first, last))
    assert trades
    assert [trade.id for trade in trades] == list(range(tape.count_before(first) + 1, tape.count_before(last) + 1))
    assert all(early.at_us < late.at_us for early, late in itertools.pairwise(trades))
    for trade in trades[:: max(1, len(trades) // 20)]:
        assert tape.at(trade.id) == trade
        assert tape.count_before(trade.at_us) == trade.id - 1
        assert tape.count_before(trade.at_us + 1) == trade.id


def test_trades_when_asked_by_another_then_they_are_the_same() -> None:
    listing = LISTINGS[0]
    one, other = market().tape(listing), market().tape(listing)
    minute = NOW // MINUTE
    backwards = [of_minute(one, minute - n) for n in range(30)]
    forwards = [of_minute(other, minute - n) for n in reversed(range(30))][::-1]
    assert backwards == forwards
    clock = Clock()
    assert of_minute(SimulatedMarket(6, clock, Revisions()).tape(listing), minute) != backwards[0]


def test_trades_when_the_first_of_all_then_it_is_number_one_of_the_first_day() -> None:
    for listing in LISTINGS:
        tape = MARKETS[1.0].tape(listing)
        first = tape.at(1)
        assert listing.since <= first.at_ms < listing.since + MINUTE * 5
        assert tape.count_before(listing.since * 1000) == 0
        assert list(tape.take(-5, 1)) == [first]


@pytest.mark.parametrize("rate", RATES)
def test_trades_when_of_a_day_then_there_are_as_many_every_day(rate: float) -> None:
    source = MARKETS[rate]
    for listing in listings(source)[::5]:
        days = {
            sum(bar.trades for bar in source.bars(listing, DAY, start, start + DAY))
            for start in range(NOW // DAY * DAY - 5 * DAY, NOW // DAY * DAY, DAY)
        }
        assert len(days) == 1


def test_rate_when_higher_then_there_are_more_trades_of_the_same_volume() -> None:
    slow, fast = (MARKETS[rate].bars(listings(MARKETS[rate])[0], HOUR, NOW - 5 * HOUR, NOW) for rate in (1.0, 20.0))
    for one, other in zip(slow[:-1], fast[:-1], strict=True):
        assert one.base == other.base
        assert 18 < other.trades / one.trades < 22


@settings(max_examples=40)
@given(place=st.integers(0, len(LISTINGS) - 1), elapsed=st.integers(0, MINUTE - 1))
def test_running_bar_when_asked_then_it_is_of_the_trades_so_far(place: int, elapsed: int) -> None:
    listing = LISTINGS[place]
    minute = NOW // MINUTE
    now = minute * MINUTE + elapsed
    source = market(now)
    tape = source.tape(listing)
    trades = list(tape.between(minute * MINUTE * 1000, (now + 1) * 1000))
    bar = source.bars(listing, MINUTE, minute * MINUTE, now + 1)[-1]
    if trades:
        check(tape, bar, trades)
    else:
        assert (bar.trades, bar.base, bar.quote, bar.open) == (0, "0", "0", bar.close)


@settings(max_examples=40)
@given(place=st.integers(0, len(LISTINGS) - 1), start=st.integers(0, 100_000), count=st.integers(1, 60))
def test_orders_when_built_from_trades_then_each_trade_is_in_one(place: int, start: int, count: int) -> None:
    tape = MARKETS[1.0].tape(LISTINGS[place])
    first = tape.count_before(NOW * 1000) - start
    orders = list(tape.aggregates(first, first + count - 1))
    assert [order.id for order in orders] == list(range(first, first + count))
    assert all(late.first == early.last + 1 for early, late in itertools.pairwise(orders))
    for order in orders:
        members = list(tape.take(order.first, order.last))
        assert {(trade.price, trade.buy) for trade in members} == {(order.price, order.buy)}
        assert (order.lots, order.at_us) == (sum(trade.lots for trade in members), members[0].at_us)
        assert {tape.aggregate_of(trade.id) for trade in members} == {order.id}
        assert len({trade.at_us // (MINUTE * 1000) for trade in members}) == 1
    assert tape.complete_aggregates(orders[-1].last) == orders[-1].id
    assert tape.complete_aggregates(orders[-1].last - 1) == orders[-1].id - 1


def test_lots_when_added_up_over_days_then_they_are_those_of_the_bars() -> None:
    source = MARKETS[1.0]
    for listing in LISTINGS[::7]:
        tape = source.tape(listing)
        start = NOW // DAY * DAY - 3 * DAY
        first, last = tape.count_before(start * 1000) + 1, tape.count_before((start + 2 * DAY + HOUR) * 1000)
        bars = source.bars(listing, HOUR, start, start + 2 * DAY + HOUR)
        expected = sum((Decimal(bar.contracts if listing.inverse else bar.base) for bar in bars), Decimal(0))
        assert Decimal(tape.size(tape.lots_between(first, last))) == expected
