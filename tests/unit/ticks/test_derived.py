"""Numbers that were worked out by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest

from coinswarm.ticks.cross_venue import Skews, Top, best, differences_bps, edges, latencies_ms, read_top
from coinswarm.ticks.derived import OrderFlow, imbalance, plain, spread_bps, trade_imbalance
from coinswarm.ticks.model import Trade

pytestmark = pytest.mark.unit


def test_spread_is_of_the_middle() -> None:
    # 1 of 100.5
    assert spread_bps(Decimal("100"), Decimal("101")) == Decimal("99.502488")


def test_imbalance_is_between_minus_one_and_one() -> None:
    bids, asks = [("99", "3"), ("98", "2")], [("100", "1"), ("101", "4")]
    assert imbalance(bids[:1], asks[:1]) == Decimal("0.5")
    assert imbalance(bids, asks) == 0
    assert imbalance(bids, []) == 1
    assert imbalance([], asks) == -1
    assert imbalance([], []) == 0


def test_order_flow_follows_cont_kukanov_and_stoikov() -> None:
    flow = OrderFlow()
    flow.see("100.00", "5", "101.00", "7")
    assert flow.take() == 0, "the first state is no change"
    # Bid size 5 → 8 at the same price: +8 - 5. The ask is as it was: -7 + 7.
    flow.see("100.00", "8", "101.00", "7")
    assert flow.take() == 3
    # A better bid of 2: +2.
    flow.see("100.50", "2", "101.00", "7")
    # The bid falls back: - the 2 that were there.
    flow.see("100.00", "8", "101.00", "7")
    assert flow.take() == 0
    # A better ask of 4: supply, -4.
    flow.see("100.00", "8", "100.90", "4")
    assert flow.take() == -4
    # The ask is lifted: + the 4 that were there. At the same time the bid rises with 1: +1.
    flow.see("100.20", "1", "101.00", "7")
    assert flow.take() == 5
    # The same price spelled otherwise is the same price: +1 - 1 - 9 + 7.
    flow.see("100.2", "1", "101.0", "9")
    assert flow.take() == -2
    flow.see("100.2", "1", "101.0", "9")
    assert flow.take() == 0
    flow.see("100.2", "3", "101.0", "9")
    flow.forget()
    flow.see("90", "3", "91", "9")
    assert flow.take() == 0, "nothing is told across an invalid book"


def test_trade_imbalance_is_bought_less_sold() -> None:
    trades = [
        Trade("BTC-USD", "1", "0.1", "buy", 1, "1"),
        Trade("BTC-USD", "1", "0.2", "buy", 1, "2"),
        Trade("BTC-USD", "1", "0.05", "sell", 1, "3"),
    ]
    assert trade_imbalance(trades) == Decimal("0.25")
    assert trade_imbalance([]) == 0


@pytest.mark.parametrize(
    ("number", "text"),
    [("1E+3", "1000"), ("0.500000", "0.5"), ("0", "0"), ("-0.0", "0"), ("1.00", "1"), ("1E-13", "0"), ("10", "10"),
     ("0.1234567890125", "0.123456789012")],
)  # fmt: skip
def test_plain_has_no_exponent_and_no_idle_zeros(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text


def _top(venue: str, bid: str, ask: str, ts: int = 1000, recv: int = 1010) -> Top:
    return Top(venue, Decimal(bid), Decimal(ask), ts, recv)


def test_best_prices_and_differences_over_venues() -> None:
    tops = [_top("a", "99", "101"), _top("b", "100", "102"), _top("c", "98", "100")]
    high, low = best(tops)
    assert (high.venue, low.venue) == ("b", "c")
    # Middles 100, 101, 99; the median is 100.
    assert differences_bps(tops) == {"a": 0, "b": 100, "c": -100}


def test_latencies_are_signed_and_the_skew_is_the_smallest_of_five_minutes() -> None:
    ahead, behind = _top("a", "1", "2", ts=1000, recv=990), _top("b", "1", "2", ts=1000, recv=1030)
    assert latencies_ms([ahead, behind]) == {"a": -20, "b": 20}
    skews = Skews()
    assert skews.of("a") == 0
    for ts, recv in ((1000, 1012), (2000, 2003), (3000, 3040)):
        skews.see(_top("a", "1", "2", ts, recv))
    assert skews.of("a") == 3
    skews.see(_top("a", "1", "2", 302_500, 302_530))
    assert skews.of("a") == 30, "what is older than five minutes does not count"


def test_edge_is_what_both_fees_leave() -> None:
    tops = [_top("a", "99", "100"), _top("b", "100.5", "101"), _top("c", "200", "201")]
    fees = {"a": 10.0, "b": 20.0}
    (edge,) = edges(tops, fees, 2.0)
    # Paid 100 and 0.1 of fee, got 100.5 less 0.201: 0.199 is left. Nobody knows the fee of c.
    assert (edge.buy.venue, edge.sell.venue, edge.gross_bps, edge.net_bps) == ("a", "b", 50, Decimal("19.9"))
    assert edges(tops, fees, 20.1) == []


def test_top_of_a_spoilt_entry_is_none() -> None:
    good = {"venue": "a", "bids": '[["1","2"]]', "asks": '[["3","4"]]', "ts": "5", "recv": "6"}
    assert read_top(good) == Top("a", Decimal(1), Decimal(3), 5, 6)
    for bad in ({"bids": "[]"}, {"bids": "{"}, {"asks": '[["x","1"]]'}, {"ts": "now"}, {"bids": '[["0","1"]]'}):
        assert read_top(good | bad) is None
    assert read_top({}) is None
