"""What registry and agents see of a source: `DataSource` and `DataPoint`, once for all sources, over SPEC and parse.

Nothing here stores anything: points come straight from the provider and have passed no quality gate. Planners read the
store instead (`coinswarm.clients`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from coinswarm.connections import Connection
from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record, Rejected
from coinswarm.errors import SourceError, UserError
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sources import source_named
from coinswarm.sources.fetch import Fetcher, fetcher
from coinswarm.sources.parsing import natural_key, parse_payload
from coinswarm.sources.spec import Feed, Mode, Request, SourceSpec
from coinswarm.timeframes import Window, floor

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DataPoint:
    """One observation in the form that the specification names.

    `timestamp` is when it happened (a bar: its open time), aware UTC. `data` holds the dataset's columns, exact.
    `quality_score` is None as long as no gate has scored the data: a score is computed, never assumed. `version` is the
    version of the dataset's declaration (`ohlcv/1`).
    """

    source: str
    symbol: str
    timeframe: str
    timestamp: datetime
    data: Mapping[str, Any] = field(repr=False)
    quality_score: Decimal | None
    version: str


class DataSource:
    """One provider behind the three questions that every source answers. Safe to use from one event loop at a time."""

    def __init__(
        self,
        spec: SourceSpec,
        connection: Connection,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Ask the provider of `spec` over `connection` (the one called `spec.connection_id`)."""
        self.source_name = spec.slug
        self._spec = spec
        self._connection = connection
        self._clock = clock
        self._fetcher: Fetcher | None = None

    async def fetch_historical(
        self, symbol: str, start: datetime, end: datetime, *, dataset: str = "ohlcv", timeframe: str = ""
    ) -> list[DataPoint]:
        """Final observations of one symbol in `[start, end)`, oldest first, each once.

        Args:
            symbol: canonical instrument (`BTC-USDT-PERP`), asset (`BTC`) or `global`.
            start: first moment, aware UTC; bars count by their open time.
            end: moment after the last, aware UTC.
            dataset: what is asked for.
            timeframe: length of bars; may be left out where the source has only one.

        Raises:
            UserError: the source has no such symbol, dataset or timeframe, tells the present only, does not reach so
                far back, or is off because it has no key.
            SourceError: the provider does not answer as it should.
        """
        window = Window(start, end)
        feeds = self._historical_feeds(symbol, dataset, timeframe)
        self._refuse_unanswerable(feeds, window)
        return await asyncio.to_thread(self._collect, feeds, symbol, window)

    def stream_realtime(
        self, symbols: Sequence[str], *, streams: Sequence[str] = ("trades",)
    ) -> AsyncIterator[DataPoint]:
        """Live data: not from here.

        Raises:
            UserError: always. Live data belong to the tick feed, which this installation does not have.
        """
        asked = ", ".join(symbols)[:80]
        raise UserError(
            f"{self.source_name}: {', '.join(streams)[:80]} of {asked} come live from the tick feed (coinswarm.ticks), "
            "which is not part of this version; fetch_historical answers for closed intervals"
        )

    async def health_check(self) -> bool:
        """True if the provider answers its smallest regular question with a body that can be read."""
        if self._is_off():
            return False
        return await asyncio.to_thread(self._answers)

    def _historical_feeds(self, symbol: str, dataset: str, timeframe: str) -> list[Feed]:
        dataset_named(dataset)
        feeds = [feed for feed in self._spec.feeds if feed.dataset == dataset]
        if not feeds:
            known = ", ".join(sorted({feed.dataset for feed in self._spec.feeds}))
            raise UserError(f"{self.source_name} has no {dataset[:40]}; it has {known}")
        feeds = [feed for feed in feeds if not feed.kinds or _covers(feed, self._instrument(symbol))]
        if not feeds:
            raise UserError(f"{self.source_name} has no {dataset} of {symbol[:40]}")
        lengths = sorted({feed.timeframe for feed in feeds})
        if timeframe or len(lengths) > 1:
            feeds = [feed for feed in feeds if feed.timeframe == timeframe]
        if not feeds:
            raise UserError(
                f"{self.source_name}: say which timeframe of {dataset}: {', '.join(lengths)}"
                + (f", not {timeframe[:10]!r}" if timeframe else "")
            )
        past = [feed for feed in feeds if feed.mode is Mode.INTERVAL]
        if not past:
            raise UserError(f"{self.source_name} tells only the present {dataset}: its history is what was recorded")
        return past

    def _instrument(self, symbol: str) -> Instrument:
        return INSTRUMENTS.get(self.source_name, symbol)

    def _refuse_unanswerable(self, feeds: Iterable[Feed], window: Window) -> None:
        if self._is_off():
            raise UserError(f"{self.source_name} is off: connection {self._spec.connection_id} has no key")
        now = self._clock()
        if window.start >= now:
            raise UserError(f"{window.start.isoformat()} has not come yet")
        for feed in feeds:
            if feed.history is not None and window.start < now - feed.history:
                raise UserError(
                    f"{self.source_name} {feed.name} reaches back to {now - feed.history:%Y-%m-%d %H:%M} UTC only"
                )

    def _is_off(self) -> bool:
        return self._spec.key_required and not self._connection.password

    def _collect(self, feeds: Iterable[Feed], symbol: str, window: Window) -> list[DataPoint]:
        points: dict[tuple[Any, ...], DataPoint] = {}
        refused: list[Rejected] = []
        for feed in feeds:
            dataset = dataset_named(feed.dataset)
            instrument = self._instrument(symbol) if feed.kinds else None
            for request in feed.requests(instrument, window):
                for outcome in self._outcomes(feed, request):
                    if isinstance(outcome, Rejected):
                        refused.append(outcome)
                    elif _is_asked(feed, outcome, request, symbol, window):
                        points[natural_key(dataset, outcome)] = DataPoint(
                            source=self.source_name,
                            symbol=outcome.symbol,
                            timeframe=feed.timeframe,
                            timestamp=outcome.event_at,
                            data=dict(outcome.values),
                            quality_score=None,
                            version=f"{dataset.name}/{dataset.schema_version}",
                        )
        if refused:
            log.warning(
                "%s: left out %s unusable rows, the first for %s: %s",
                self.source_name,
                len(refused),
                refused[0].field,
                refused[0].reason,
            )
        return sorted(points.values(), key=lambda point: (point.timestamp, point.symbol))

    def _outcomes(self, feed: Feed, request: Request) -> Iterator[Record | Rejected]:
        if self._fetcher is None:
            self._fetcher = fetcher(self._spec, self._connection)
        prepared = self._fetcher.prepare(request)
        fetched = self._fetcher.get(prepared)
        yield from parse_payload(feed.parse, fetched.body, prepared.received(fetched.received_at))

    def _answers(self) -> bool:
        scheduled = (feed for cadence in self._spec.cadences for feed in self._spec.feeds_at(cadence))
        feed = min(scheduled, key=lambda feed: (feed.mode is not Mode.INTERVAL, feed.cadence.period))
        step = feed.cadence.period
        # Not the newest interval: some providers need a while to publish it, and that is no illness.
        end = floor(self._clock(), step) - step
        covered = [item for item in INSTRUMENTS.of(self.source_name, kinds=feed.kinds) if _covers(feed, item)]
        requests = feed.requests(covered[0] if feed.kinds else None, Window(end - step, end))
        try:
            outcomes = [outcome for request in list(requests)[:1] for outcome in self._outcomes(feed, request)]
        except SourceError as error:
            log.warning("%s is not healthy: %s", self.source_name, error)
            return False
        readable = [outcome for outcome in outcomes if isinstance(outcome, Record)]
        return bool(readable) or not outcomes


def data_source(slug: str, connection: Connection) -> DataSource:
    """The source called `slug`, over its connection.

    Raises:
        UserError: there is no such source; the message lists those that exist.
    """
    return DataSource(source_named(slug), connection)


def _covers(feed: Feed, instrument: Instrument) -> bool:
    return instrument.kind in feed.kinds and (not feed.markets or instrument.market in feed.markets)


def _is_asked(feed: Feed, record: Record, request: Request, symbol: str, window: Window) -> bool:
    return (
        record.final
        and symbol in (record.symbol, request.symbol)
        and window.start <= record.event_at < window.end
        and (feed.keep is None or feed.keep(record))
    )
