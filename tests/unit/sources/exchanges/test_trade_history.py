"""Paging through past trades: every number once, no page too many, and an end in any case."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from coinswarm.datasets.records import Record
from coinswarm.registry import INSTRUMENTS
from coinswarm.sources import SOURCES
from coinswarm.sources.exchanges._trades import by_sequence, by_trade_id, sizes, to_millisecond
from coinswarm.sources.trade_history import HISTORIES, Page, Span, trade_history_of

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 1, tzinfo=UTC)
SPAN = Span(START, START + timedelta(minutes=1), 1_001, 3_500)
LIVE = [i for i in INSTRUMENTS if i.source in HISTORIES]


def record(number: int, at: datetime = START, **values: Any) -> Record:
    return Record("BTC-USDT", at, {"trade_id": str(number), "sequence": number, **values})


@pytest.mark.parametrize("instrument", LIVE, ids=lambda one: f"{one.source}-{one.symbol}")
def test_history_when_asked_for_any_instrument_then_first_request_names_it(instrument: Any) -> None:
    history = trade_history_of(instrument)
    assert history is not None
    request = history.following(instrument, SPAN, None)
    assert request is not None
    assert (request.source, request.dataset, request.symbol) == (instrument.source, "trades", instrument.symbol)
    assert instrument.venue_symbol in {str(value) for value in request.params.values()}
    assert history.seconds >= 1 / SOURCES[instrument.source].requests_per_second or history.seconds >= 0.1


@pytest.mark.parametrize(
    ("source", "symbol", "descending", "page_size"),
    [
        ("binance", "BTC-USDT", False, 1000),
        ("binance", "BTC-USDT-PERP", False, 1000),
        ("okx", "BTC-USDT", True, 100),
        ("deribit", "BTC-USD-PERP", False, 1000),
    ],
)
def test_paging_when_by_number_then_covers_the_span_once(
    source: str, symbol: str, descending: bool, page_size: int
) -> None:
    instrument = INSTRUMENTS.get(source, symbol)
    history = trade_history_of(instrument)
    assert history is not None
    seen: list[int] = []
    page: Page | None = None
    while (request := history.following(instrument, SPAN, page)) is not None:
        if descending:
            top = int(request.params["after"]) - 1
            numbers = list(range(top, top - page_size, -1))
        else:
            first = int(request.params.get("fromId", request.params.get("start_seq", 0)))
            numbers = list(range(first, first + page_size))
        page = Page(request, tuple(map(record, numbers)))
        seen += numbers
        assert len(seen) < 5_000
    assert set(range(1_001, 3_501)) <= set(seen)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("instrument", LIVE, ids=lambda one: f"{one.source}-{one.symbol}")
def test_paging_when_an_answer_is_empty_or_the_same_again_then_ends(instrument: Any) -> None:
    history = trade_history_of(instrument)
    assert history is not None
    request = history.following(instrument, SPAN, None)
    assert request is not None
    assert history.following(instrument, SPAN, Page(request, ())) is None
    # A thousand trades of one moment, over and over: no venue may hold us for ever.
    same = tuple(record(2_000, START + timedelta(seconds=30)) for _ in range(1_000))
    asked = [request]
    for _ in range(50):
        following = history.following(instrument, SPAN, Page(asked[-1], same))
        if following is None or following in asked:
            break
        asked.append(following)
    assert len(asked) <= 3


@pytest.mark.parametrize(
    ("source", "symbol", "native", "price", "base"),
    [
        ("okx", "BTC-USDT-PERP", "25", "60000", "0.25"),
        ("binance", "BTC-USD-PERP", "3", "60000.5", "0.004999958334"),
        ("bybit", "BTC-USD-PERP", "100", "3", "33.333333333333"),
    ],
)
def test_sizes_when_the_venue_counts_contracts_then_base_units_by_the_registry(
    source: str, symbol: str, native: str, price: str, base: str
) -> None:
    assert sizes(source, symbol, Decimal(native), Decimal(price)) == {
        "size_base": Decimal(base),
        "size_native": Decimal(native),
    }
    assert sizes(source, "BTC-USDT", Decimal(native), Decimal(price)) == {"size_base": Decimal(native)}


def test_numbers_when_asked_then_by_id_or_beside_it() -> None:
    assert (by_trade_id(record(7)), by_sequence(record(7))) == (7, 7)
    other = replace(record(7), values={"trade_id": "a-b"})
    assert (by_trade_id(other), by_sequence(other)) == (None, None)


def test_time_when_finer_than_a_millisecond_then_rounded_down_as_the_live_feed_does() -> None:
    assert to_millisecond(START + timedelta(microseconds=1_999)) == START + timedelta(milliseconds=1)
