"""Past trades of every venue, asked by time and by number of stand-ins that know the documentation, not our source."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from coinswarm.connections import Connection
from coinswarm.datasets.records import Record
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sandbox.protocol import Clock
from coinswarm.sandbox.server import running
from coinswarm.sources import SOURCES
from coinswarm.sources.fetch import fetcher
from coinswarm.sources.parsing import parse_payload
from coinswarm.sources.trade_history import HISTORIES, Page, Span, trade_history_of

pytestmark = pytest.mark.integration

NOW = datetime(2026, 6, 2, 12, tzinfo=UTC)
SPAN = Span(NOW - timedelta(minutes=4), NOW - timedelta(minutes=2))
LIVE = [instrument for instrument in INSTRUMENTS if instrument.source in HISTORIES]
# The venue gives no trades by time, or not further back than a page.
BY_NUMBER_ONLY = {("binance", "spot")}
LATEST_ONLY = {"bybit"}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[str]:
    with running(clock=Clock(NOW)) as url:
        yield url


def asked(instrument: Instrument, span: Span, url: str) -> dict[str, Record]:
    """All trades of the span by id, as a repair would get them."""
    history = trade_history_of(instrument)
    assert history is not None
    spec = SOURCES[instrument.source]
    fetch = fetcher(spec, Connection(spec.connection_id, host=url, extra={"requests_per_second": 500}))
    found: dict[str, Record] = {}
    page: Page | None = None
    for _ in range(50):
        request = history.following(instrument, span, page)
        if request is None:
            return found
        answer = fetch.get(request)
        outcomes = list(parse_payload(history.parse, answer.body, request.received(answer.received_at)))
        records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        assert len(records) == len(outcomes)
        page = Page(request, tuple(records))
        found |= {str(one.values["trade_id"]): one for one in records if span.start <= one.event_at < span.end}
    raise AssertionError("the pages never end")


@pytest.mark.parametrize("instrument", LIVE, ids=lambda one: f"{one.source}-{one.symbol}")
def test_history_when_asked_by_time_and_by_number_then_nothing_is_missing(instrument: Instrument, sandbox: str) -> None:
    history = trade_history_of(instrument)
    assert history is not None
    by_time = asked(instrument, SPAN, sandbox)
    if (instrument.source, instrument.market) in BY_NUMBER_ONLY:
        assert by_time == {}
        return
    assert by_time or instrument.source in LATEST_ONLY
    numbers = sorted(number for one in by_time.values() if (number := history.number(one)) is not None)
    if not numbers:
        return
    assert numbers == list(range(numbers[0], numbers[-1] + 1))
    part = Span(SPAN.start, SPAN.end, numbers[1], numbers[-2])
    by_number = {history.number(one): one for one in asked(instrument, part, sandbox).values()}
    assert set(numbers[1:-1]) <= set(by_number)
    assert all(by_time[str(one.values["trade_id"])] == one for one in by_number.values())
