"""What these venues really sent, against the counts and values that the recordings' manifest states."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise

import pytest
from tests.support import RECORDED, needs_recordings

from coinswarm.datasets.records import Record
from coinswarm.registry import INSTRUMENTS
from coinswarm.sources import source_named
from coinswarm.sources.parsing import parse_payload, parser_for
from coinswarm.sources.spec import Request

pytestmark = [pytest.mark.contract, needs_recordings]


def _parse(source: str, dataset: str, file: str, **about: str) -> list[Record]:
    body = (RECORDED / file).read_bytes()
    body = gzip.decompress(body) if file.endswith(".gz") else body
    request = Request(source=source, dataset=dataset, endpoint="", **about)
    outcomes = list(parse_payload(parser_for(source_named(source), dataset), body, request))
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert records == outcomes, "nothing of a real body is rejected"
    return records


def _kraken_bars() -> list[Record]:
    return _parse(
        "kraken",
        "ohlcv",
        "kraken__klines__1.json.gz",
        symbol="BTC-USD",
        venue_symbol="XXBTZUSD",
        market="spot",
        timeframe="1m",
    )


def test_kraken_klines_when_recorded_then_720_minutes_without_gap() -> None:
    bars = _kraken_bars()
    assert len(bars) == 720
    assert {(later.event_at - earlier.event_at).total_seconds() for earlier, later in pairwise(bars)} == {60}
    assert bars[0].event_at == datetime(2017, 8, 10, 22, 2, tzinfo=UTC)
    assert bars[0].values == {
        "timeframe": "1m",
        "open": Decimal("3449.992"),
        "high": Decimal("3449.999"),
        "low": Decimal("3449.992"),
        "close": Decimal("3449.999"),
        "volume_base": Decimal("1.01200000"),
        "trade_count": 7,
    }
    assert bars[-1].event_at == datetime(2017, 8, 11, 10, 1, tzinfo=UTC)
    assert str(bars[-1].values["volume_base"]) == "0.36437516"


def test_kraken_klines_when_recorded_then_only_the_bar_after_last_is_open() -> None:
    bars = _kraken_bars()
    assert [bar.event_at for bar in bars if not bar.final] == [bars[-1].event_at]


def test_deribit_instruments_when_recorded_then_every_one_has_the_name_that_deribit_gave_it() -> None:
    instruments = _parse("deribit", "instruments", "deribit__instruments__1.json.gz")
    assert len(instruments) == 177
    assert (instruments[0].symbol, instruments[-1].symbol) == ("SOL-10JUN22-28-P", "SOL-3JUN22-45-C")
    for instrument in instruments:
        kind, name = instrument.values["kind"], instrument.values["venue_symbol"]
        assert instrument.symbol == ("SOL-USD-PERP" if kind == "perpetual" else name)
        assert instrument.values["expires_at"] is None or instrument.values["expires_at"].hour == 8


def test_coinbase_depth_when_recorded_then_best_bid_and_ask_are_exact() -> None:
    (book,) = _parse("coinbase", "order_books", "coinbase_advanced__depth_snapshot__1.json")
    assert book.symbol == "ETH-USDT"
    assert book.event_at == datetime(2024, 10, 2, 11, 22, 32, 748151, tzinfo=UTC)
    assert book.values == {"bids": [["2452.77", "0.32700476"]], "asks": [["2453.62", "0.38"]]}


def test_registry_when_asked_for_kraken_then_it_knows_the_recorded_pair() -> None:
    assert INSTRUMENTS.from_venue("kraken", "spot", "XXBTZUSD").symbol == "BTC-USD"
