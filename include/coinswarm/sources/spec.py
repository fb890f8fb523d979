"""What a source module declares: a frozen SPEC, pure request builders and pure parsers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from coinswarm.datasets import Domain, dataset_named
from coinswarm.datasets.records import Record, Rejected
from coinswarm.registry import Instrument, InstrumentKind
from coinswarm.timeframes import Window


class Cadence(StrEnum):
    """How often a DAG asks; the value names the DAG (`ingest__binance__15m`)."""

    QUARTER_HOURLY = "15m"
    HOURLY = "1h"
    DAILY = "1d"

    @property
    def period(self) -> timedelta:
        """Length of one interval."""
        return {"15m": timedelta(minutes=15), "1h": timedelta(hours=1), "1d": timedelta(days=1)}[self.value]


class Mode(StrEnum):
    """`interval`: any past interval can be asked for. `now`: the provider only tells the present state."""

    INTERVAL = "interval"
    NOW = "now"


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request and what its answer is about. JSON-safe, lands beside the bytes, and makes `parse` replayable.

    Exchange requests name a ccxt implicit method in `endpoint` (`publicGetKlines`) and its exchange class in `client`
    (`binance`); all others leave `client` empty and give a full https URL as `endpoint`. Secrets are never in here:
    the HTTP client adds them from the connection.
    """

    source: str
    dataset: str
    endpoint: str
    client: str = ""
    params: Mapping[str, str | int] = field(default_factory=dict)
    symbol: str = "global"
    venue_symbol: str = ""
    market: str = ""
    timeframe: str = ""
    start: datetime | None = None
    end: datetime | None = None
    received_at: datetime | None = None

    def received(self, at: datetime) -> Request:
        """The same request, with the time at which its answer was read."""
        return replace(self, received_at=at)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, ISO times."""
        fields = asdict(self)
        for name in ("start", "end", "received_at"):
            fields[name] = fields[name].isoformat() if fields[name] else None
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Request:
        """Inverse of `to_json`."""
        fields: dict[str, Any] = json.loads(text)
        for name in ("start", "end", "received_at"):
            fields[name] = datetime.fromisoformat(fields[name]) if fields[name] else None
        return cls(**fields)


RequestBuilder = Callable[[Instrument | None, Window], Iterable[Request]]
Parser = Callable[[bytes, Request], Iterator[Record | Rejected]]


@dataclass(frozen=True, slots=True)
class Feed:
    """One dataset of a source at one cadence (and timeframe, for bars).

    `requests(instrument, window)` yields the requests for exactly that window, in pages no larger than the provider's
    limit; market-wide feeds (`kinds` empty) get None as instrument. `parse` yields a record or a rejection per row, in
    the order of the body, and raises ContractViolation only if the body as a whole is unusable. `markets` narrows the
    instruments to API sections. `freshness` is the age of the newest event at which the feed counts as stale.
    `history` is how far back the provider answers, None for all of it. `keep` drops parsed records that are not for us.
    `variant` tells two feeds of one dataset apart (`settled`, `predicted`). `scheduled` is false for a feed that only
    `backfill` asks (a timeframe that no mart needs).
    """

    dataset: str
    cadence: Cadence
    requests: RequestBuilder
    parse: Parser
    timeframe: str = ""
    variant: str = ""
    mode: Mode = Mode.INTERVAL
    kinds: tuple[InstrumentKind, ...] = ()
    markets: tuple[str, ...] = ()
    freshness: timedelta = timedelta(hours=2)
    history: timedelta | None = None
    keep: Callable[[Record], bool] | None = None
    scheduled: bool = True

    def __post_init__(self) -> None:
        dataset_named(self.dataset)

    @property
    def name(self) -> str:
        """`ohlcv_15m` or `funding_rates_settled`: unique within the source, used in task ids and labels."""
        return "_".join(part for part in (self.dataset, self.timeframe, self.variant) if part)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """Where a provider wants its key: in a header or a query parameter, and only on these hosts."""

    hosts: tuple[str, ...]
    header: str = ""
    param: str = ""


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Everything about a provider that is not code.

    `requests_per_second` is the budget per API host. `parsers` maps further datasets that can be parsed from a file
    (payloads without a feed: tickers, instruments, trades) to their parser. `hosts` are all hosts that a request may
    name. `api_key` tells the HTTP client where the connection's password goes. `rate_limit_statuses` maps the HTTP
    statuses that mean "slow down" to the seconds to wait where the answer has no `Retry-After`. `with_key` turns a
    keyless request into the one that is sent where the connection has a key. With `absent_after`, a 404 means "not yet
    there" until so long after the request's end, and from then on "there is none": an empty body. `market_paths` maps
    parts of addresses to API sections, for recorded payloads.
    """

    slug: str
    title: str
    domain: Domain
    docs_url: str
    licence: str
    feeds: tuple[Feed, ...]
    requests_per_second: float
    hosts: tuple[str, ...]
    parsers: Mapping[str, Parser] = field(default_factory=dict)
    api_key: ApiKey | None = None
    with_key: Callable[[Request], Request] | None = None
    absent_after: timedelta | None = None
    rate_limit_statuses: Mapping[int, float] = field(default_factory=lambda: {429: 30.0, 418: 120.0})
    market_paths: Mapping[str, str] = field(default_factory=dict)
    key_required: bool = False
    enabled: bool = True
    tier: int = 1

    def market_of(self, url: str) -> str:
        """API section that a recorded address belongs to, by `market_paths`; empty if it tells none."""
        return next((market for part, market in self.market_paths.items() if part in url), "")

    @property
    def connection_id(self) -> str:
        """Airflow connection that holds base URL and key."""
        return f"http_{self.slug}"

    @property
    def pool(self) -> str:
        """Airflow pool that bounds concurrent requests to the provider."""
        return f"api__{self.slug}"

    @property
    def cadences(self) -> tuple[Cadence, ...]:
        """Cadences that have a scheduled feed, shortest first: one DAG each."""
        return tuple(c for c in Cadence if self.feeds_at(c))

    def feeds_at(self, cadence: Cadence) -> tuple[Feed, ...]:
        """Scheduled feeds of one cadence."""
        return tuple(feed for feed in self.feeds if feed.cadence is cadence and feed.scheduled)
