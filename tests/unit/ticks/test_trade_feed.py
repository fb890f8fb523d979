"""What a stream of trades knows of those that were seen and not written."""

from __future__ import annotations

from typing import Any

import pytest

from coinswarm.ticks.feeds import TradeFeed
from coinswarm.ticks.model import Channel, Trade
from coinswarm.ticks.protocol import Proof, Stream

pytestmark = pytest.mark.unit


def _feed(proof: Proof) -> TradeFeed:
    return TradeFeed("venue", Stream(Channel.TRADES, "BTC-USDT", proof, 60.0))


@pytest.mark.parametrize(
    ("proof", "written", "seen", "known"),
    [
        (Proof.SEQUENCE, "10", "17", {"first_missing": "11", "last_missing": "17", "missing": 7}),
        (Proof.SEQUENCE, "", "17", {"last_missing": "17"}),
        (Proof.SEQUENCE, "17", "3", {"last_missing": "3"}),  # the venue counts anew
        # Bybit's spot ids are digits, and count the trades of all instruments.
        (Proof.NONE, "2290000000010", "2290000000017", {"last_missing": "2290000000017"}),
        (Proof.NONE, "5f0c", "a1b2", {"last_missing": "a1b2"}),
    ],
)
def test_trades_between_are_counted_only_where_the_venue_numbers_them(
    proof: Proof, written: str, seen: str, known: dict[str, Any]
) -> None:
    feed = _feed(proof)
    assert feed.between(written, seen) == known


@pytest.mark.parametrize(("proof", "since_ms"), [(Proof.NONE, 60_000), (Proof.SEQUENCE, 100_000)])
def test_trades_that_came_late_were_traded_early_where_no_numbers_tell(proof: Proof, since_ms: int) -> None:
    feed = _feed(proof)
    feed.past_lag_ms = 40_000
    assert feed.traded_ms(100_000) == since_ms
    feed.newest, feed.heard_ms = Trade("BTC-USDT", "1", "1", "buy", 55_000, "x"), 95_000
    assert feed.traded_ms(100_000) == since_ms
    # The venue's clock is ahead of ours.
    feed.heard_ms = 54_000
    assert feed.traded_ms(100_000) == 100_000
