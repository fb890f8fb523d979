"""What venues can ask the market, simulated or replayed. Times are milliseconds since the epoch, ranges half-open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from coinswarm.sandbox.market.books import Book
    from coinswarm.sandbox.market.trades import Tape

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Listing:
    """One tradable thing at one venue.

    `tick` is the price step, `lot` the size step: in base units if linear or spot, in contracts if inverse.
    `contract` is the contract's size: base units if linear, US dollars if inverse.
    `activity` is the mean volume a minute in base units; `quiet` the share of minutes without a trade.
    `trades` is the mean number of trades a minute of a market that is never quiet; its book changes every `book_ms`.
    """

    venue: str
    market: str
    symbol: str
    base: str
    quote: str
    settle: str
    perpetual: bool
    tick: str
    lot: str
    contract: str
    activity: float
    quiet: float
    since: int
    funding_hours: int = 8
    trades: float = 240.0
    book_ms: int = 500

    @property
    def inverse(self) -> bool:
        """Settled in the base asset, sized in dollars."""
        return self.perpetual and self.settle == self.base


class Bar(NamedTuple):
    """One bar: exact decimal text without trailing zeros; `contracts` as the venue counts (spot: base units)."""

    open_ms: int
    open: str
    high: str
    low: str
    close: str
    base: str
    quote: str
    contracts: str
    trades: int
    taker_base: str
    taker_quote: str


class Funding(NamedTuple):
    """One funding event: relative rate for one interval, and the mark price used (None if the history has none)."""

    at_ms: int
    rate: str
    mark: str | None


class Quote(NamedTuple):
    """A listing at one moment; sizes in base units, `funding` is the running estimate for `next_funding_ms`."""

    at_ms: int
    last: str
    bid: str
    ask: str
    mark: str
    index_price: str
    funding: str
    next_funding_ms: int
    open_interest: str


class Interest(NamedTuple):
    """Open interest counted on one side: base units, venue contracts, and US dollars at the mark."""

    at_ms: int
    base: str
    contracts: str
    usd: str


class Ratio(NamedTuple):
    """Long and short shares (they add up to 1), or taker buy and sell volume in base units."""

    at_ms: int
    long: str
    short: str
    ratio: str


class Level(NamedTuple):
    """A volatility index bar, in percent per year."""

    open_ms: int
    open: float
    high: float
    low: float
    close: float


class Option(NamedTuple):
    """A listed option."""

    name: str
    asset: str
    expires_ms: int
    strike: int
    call: bool


class OptionQuote(NamedTuple):
    """An option at one moment: prices in the base asset, volatilities in percent, greeks in Deribit's units."""

    option: Option
    forward: float
    mark: float
    mark_iv: float
    bid: float | None
    ask: float | None
    bid_iv: float
    ask_iv: float
    open_interest: float
    volume: float
    delta: float
    gamma: float
    vega: float
    theta: float
    rho: float


class Market(Protocol):
    """What venue modules read. A replayed market raises `NotRecorded` for what its file does not hold."""

    def listings(self, venue: str) -> tuple[Listing, ...]:
        """Everything listed at a venue."""
        ...

    def find(self, venue: str, market: str, symbol: str) -> Listing | None:
        """One listing, or None."""
        ...

    def bars(self, listing: Listing, step: int, start: int, end: int, *, shift: int = 0) -> list[Bar]:
        """Bars of length `step` that opened in `[start, end)`, oldest first; the last may still be open.

        They are aligned to the epoch plus `shift` (weeks to Monday).
        """
        ...

    def tape(self, listing: Listing) -> Tape:
        """The listing's trades of all times, later ones too: whoever asks stops at now."""
        ...

    def book(self, listing: Listing) -> Book:
        """The listing's order book at any time."""
        ...

    def funding(self, listing: Listing, start: int, end: int) -> list[Funding]:
        """Settled funding in `[start, end)`, oldest first, never in the future."""
        ...

    def quote(self, listing: Listing, at: int | None = None) -> Quote:
        """The listing now, or at another moment."""
        ...

    def index_price(self, base: str, quote: str, at: int | None = None) -> str:
        """Index price now, or at another moment."""
        ...

    def mark_at(self, listing: Listing, at: int) -> str:
        """Mark price at a moment."""
        ...

    def interest(self, listing: Listing, step: int, start: int, end: int) -> list[Interest]:
        """Open interest at multiples of `step` in `[start, end)`, not in the future."""
        ...

    def ratios(self, listing: Listing, kind: str, step: int, start: int, end: int) -> list[Ratio]:
        """Long/short ratios at multiples of `step`; `kind` is a `ratio_kind` of the dataset."""
        ...

    def volatility(self, asset: str, step: int, start: int, end: int) -> list[Level]:
        """Bars of the 30-day implied volatility index."""
        ...

    def options(self, asset: str, at: int | None = None) -> list[OptionQuote]:
        """Every live option with its quote now, or at another moment."""
        ...
