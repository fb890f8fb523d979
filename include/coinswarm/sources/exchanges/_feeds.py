"""Feeds that the venues with spot and perpetual markets declare alike: bars of every length, funding twice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from coinswarm.registry import InstrumentKind
from coinswarm.sources.spec import Cadence, Feed, Mode, Parser, RequestBuilder

# Timeframe, cadence, and the age at which the newest bar is stale.
_BARS = (
    ("1m", Cadence.QUARTER_HOURLY, timedelta(minutes=35)),
    ("15m", Cadence.QUARTER_HOURLY, timedelta(minutes=50)),
    ("1h", Cadence.HOURLY, timedelta(hours=3)),
    ("8h", Cadence.DAILY, timedelta(hours=48)),
    ("1d", Cadence.DAILY, timedelta(hours=60)),
)
# Only `backfill` asks these: no mart needs them while finer bars arrive.
_UNSCHEDULED = {"8h"}


def bar_feeds(requests: Callable[[str], RequestBuilder], parse: Parser) -> tuple[Feed, ...]:
    """Bars of spot and perpetual instruments, a feed per timeframe; `requests` makes the builder of one timeframe."""
    return tuple(
        Feed(
            "ohlcv",
            cadence,
            requests(timeframe),
            parse,
            timeframe=timeframe,
            kinds=(InstrumentKind.SPOT, InstrumentKind.PERPETUAL),
            freshness=freshness,
            scheduled=timeframe not in _UNSCHEDULED,
        )
        for timeframe, cadence, freshness in _BARS
    )


def funding_feeds(settled: RequestBuilder, predicted: RequestBuilder, parse: Parser) -> tuple[Feed, Feed]:
    """Funding of perpetuals: what was paid, up to every 8 h, and what the venue expects to be paid next."""
    return (
        Feed(
            "funding_rates",
            Cadence.HOURLY,
            settled,
            parse,
            variant="settled",
            kinds=(InstrumentKind.PERPETUAL,),
            freshness=timedelta(hours=10),
        ),
        Feed(
            "funding_rates",
            Cadence.QUARTER_HOURLY,
            predicted,
            parse,
            variant="predicted",
            mode=Mode.NOW,
            kinds=(InstrumentKind.PERPETUAL,),
        ),
    )
