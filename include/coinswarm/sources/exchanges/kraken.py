"""Kraken: spot bars, and bars, funding and open interest of Kraken Futures.

Spot OHLC only ever holds the latest 720 bars, whatever `since` says, and its last row is the unfinished bar. Funding
is relative in the history and absolute (dollars per contract) in the tickers, where it is divided by the index price
(decision 0005).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Context, Decimal
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.registry import Instrument, InstrumentKind
from coinswarm.sources.exchanges._bars import bar_length, bar_pages
from coinswarm.sources.exchanges._funding import settlement_hour
from coinswarm.sources.exchanges._symbols import asked_symbol, in_window
from coinswarm.sources.exchanges._trades import Page, Span, TradeHistory, by_trade_id, sizes, to_millisecond
from coinswarm.sources.exchanges._windowed import bar, given, prices, seconds
from coinswarm.sources.reading import (
    decimal,
    each,
    epoch_ms,
    epoch_s,
    iso_time,
    optional_decimal,
    read_json,
    rows_of,
    text,
    violation,
    whole,
)
from coinswarm.sources.spec import Cadence, Feed, Mode, Request, RequestBuilder, SourceSpec
from coinswarm.timeframes import Window, duration, floor, milliseconds

SLUG = "kraken"
SPOT_BARS = 720
FUTURES_PAGE = 2000
TRADES_PAGE = 1000
ALL = 10**6
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MILLISECOND = timedelta(milliseconds=1)
# Kraken changed its funding method on this day; earlier rows come every four hours without a stated interval.
HOURLY_FUNDING_SINCE = datetime(2022, 9, 29, tzinfo=UTC)
_EXACT = Context(prec=28)
_LEGACY_PAIR = re.compile(r"[XZ]([A-Z]{3})[XZ]([A-Z]{3})")


def spot_requests(timeframe: str) -> RequestBuilder:
    """Builder of spot bar requests: one a window, since Kraken keeps no more than 720 bars."""
    step = duration(timeframe)

    def build(instrument: Instrument | None, window: Window) -> Iterable[Request]:
        instrument = given(SLUG, instrument)
        for page in bar_pages(window, timeframe, ALL):
            # `since` is exclusive: one bar earlier includes the window's first.
            params: dict[str, str | int] = {
                "pair": instrument.venue_symbol,
                "interval": step // timedelta(minutes=1),
                "since": seconds(page.start - step),
            }
            yield _request("ohlcv", "kraken", "publicGetOHLC", params, instrument, page, timeframe)

    return build


def futures_requests(timeframe: str) -> RequestBuilder:
    """Builder of futures bar requests: at most 2000 bars a page, oldest page first."""

    def build(instrument: Instrument | None, window: Window) -> Iterable[Request]:
        instrument = given(SLUG, instrument)
        for page in bar_pages(window, timeframe, FUTURES_PAGE):
            params: dict[str, str | int] = {
                "price_type": "trade",
                "symbol": instrument.venue_symbol,
                "interval": timeframe,
                "from": seconds(page.start),
                "to": seconds(page.end - SECOND),
            }
            yield _request(
                "ohlcv", "krakenfutures", "chartsGetPriceTypeSymbolInterval", params, instrument, page, timeframe
            )

    return build


def funding_requests(instrument: Instrument | None, window: Window) -> Iterable[Request]:
    """One request: Kraken answers with the whole history, `parse` keeps the window."""
    instrument = given(SLUG, instrument)
    params: dict[str, str | int] = {"symbol": instrument.venue_symbol}
    yield _request("funding_rates", "krakenfutures", "publicGetHistoricalfundingrates", params, instrument, window)


def ticker_requests(dataset: str) -> RequestBuilder:
    """Builder of one ticker request per instrument: the present state, whatever the window."""

    def build(instrument: Instrument | None, window: Window) -> Iterable[Request]:
        instrument = given(SLUG, instrument)
        params: dict[str, str | int] = {"symbol": instrument.venue_symbol}
        yield _request(dataset, "krakenfutures", "publicGetTickersSymbol", params, instrument, window)

    return build


def parse_ohlcv(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Bars of spot (`{"error", "result": {<pair>: rows, "last"}}`) or futures (`{"candles", "more_candles"}`)."""
    content = _content(body, request)
    return _futures_bars(content, request) if "candles" in content else _spot_bars(content, request)


def parse_funding(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Funding: settled rates of the history (`{"rates": …}`), or the prediction in a ticker (`{"ticker": …}`)."""
    content = _content(body, request)
    if "rates" in content:
        return each(rows_of(content["rates"], request, "rates"), lambda row: _settled(row, request))
    return each(_tickers(content, request), lambda row: _predicted(row, content, request))


def parse_open_interest(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Open interest in a futures ticker, in base units, single-sided; dollars at the mark."""
    content = _content(body, request)

    def build(row: Any) -> Record:
        amount = decimal(row, "openInterest")
        mark = optional_decimal(row, "markPrice")
        return Record(
            asked_symbol(request),
            iso_time(content, "serverTime"),
            {
                "open_interest_base": amount,
                "open_interest_usd": None if mark is None else _EXACT.multiply(amount, mark),
                "open_interest_native": amount,
            },
        )

    return each(_tickers(content, request), build)


def parse_trades(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Trades of spot (`{"result": {<pair>: rows, "last"}}`, oldest first) or futures (`{"history": …}`, newest first).

    Futures are named by `uid`, as in the live feed.
    """
    content = _content(body, request)
    if "history" in content:
        return each(rows_of(content["history"], request, "history"), lambda row: _futures_trade(row, request))
    result = content.get("result")
    if not isinstance(result, Mapping):
        raise violation(request, f"result is {type(result).__name__}, not an object")
    rows: Any = next((rows for name, rows in result.items() if name != "last"), [])
    return each(rows_of(rows, request, "trades"), lambda row: _spot_trade(row, request))


def _spot_trade(row: Any, request: Request) -> Record:
    side = {"b": "buy", "s": "sell"}.get(text(row, 3))
    if side is None:
        raise FieldError("side", f"{text(row, 3)[:10]!r} is neither b nor s")
    # Seconds with nine decimals.
    ms = int((decimal(row, 2) * 1000).to_integral_value(ROUND_FLOOR))
    return Record(
        asked_symbol(request),
        epoch_ms({"time": ms}, "time"),
        {
            "trade_id": str(whole(row, 6)),
            "trade_kind": "trade",
            "price": decimal(row, 0),
            "size_base": decimal(row, 1),
            "side": side,
        },
    )


def _futures_trade(row: Any, request: Request) -> Record:
    symbol, price = asked_symbol(request), decimal(row, "price")
    return Record(
        symbol,
        to_millisecond(iso_time(row, "time")),
        {
            "trade_id": text(row, "uid"),
            "trade_kind": "trade",
            "price": price,
            **sizes(SLUG, symbol, decimal(row, "size"), price),
            "side": text(row, "side"),
            "is_liquidation": row["type"] == "liquidation" if "type" in row else None,
        },
    )


def _spot_trades_after(instrument: Instrument, span: Span, page: Page | None) -> Request | None:
    since = span.start
    if page is not None:
        if len(page.records) < TRADES_PAGE or page.records[-1].event_at >= span.end:
            return None
        since = page.records[-1].event_at
    # In nanoseconds, exclusive.
    cursor = str(milliseconds(since) * 1_000_000 - 1)
    if page is not None and page.request.params["since"] == cursor:
        return None
    params: dict[str, str | int] = {"pair": instrument.venue_symbol, "since": cursor, "count": TRADES_PAGE}
    return _request("trades", "kraken", "publicGetTrades", params, instrument, Window(span.start, span.end))


def _futures_trades_before(instrument: Instrument, span: Span, page: Page | None) -> Request | None:
    until = span.end
    if page is not None:
        until = min((record.event_at for record in page.records), default=span.start)
        if until <= span.start:
            return None
    until += MILLISECOND  # exclusive
    cursor = f"{until:%Y-%m-%dT%H:%M:%S}.{until.microsecond // 1000:03d}Z"
    if page is not None and page.request.params["lastTime"] == cursor:
        return None
    params: dict[str, str | int] = {"symbol": instrument.venue_symbol, "lastTime": cursor}
    return _request("trades", "krakenfutures", "publicGetHistory", params, instrument, Window(span.start, span.end))


TRADE_HISTORY = {
    "spot": TradeHistory(_spot_trades_after, parse_trades, seconds=1.5, number=by_trade_id, from_start=True),
    "futures": TradeHistory(_futures_trades_before, parse_trades, seconds=0.5),
}


def _spot_bars(content: Mapping[str, Any], request: Request) -> Iterator[Record | Rejected]:
    length = bar_length(request)
    result = content.get("result")
    if not isinstance(result, Mapping):
        raise violation(request, f"result is {type(result).__name__}, not an object")
    pairs = [key for key in result if key != "last"]
    if len(pairs) != 1:
        raise violation(request, f"result has {len(pairs)} pairs instead of one")
    if request.venue_symbol and _plain(pairs[0]) != _plain(request.venue_symbol):
        raise violation(request, f"answered {pairs[0][:40]!r} instead of {request.venue_symbol}")
    rows = rows_of(result[pairs[0]], request, pairs[0][:40])
    try:
        last_closed = whole(result, "last")
    except FieldError as error:
        raise violation(request, f"result: {error}") from None

    def build(row: Any) -> Record | None:
        return bar(
            request,
            epoch_s(row, 0),
            length,
            {
                "open": decimal(row, 1),
                "high": decimal(row, 2),
                "low": decimal(row, 3),
                "close": decimal(row, 4),
                "volume_base": decimal(row, 6),
                "trade_count": whole(row, 7),
            },
            time_field="0",
            closed=whole(row, 0) <= last_closed,
        )

    return each(rows, build)


def _futures_bars(content: Mapping[str, Any], request: Request) -> Iterator[Record | Rejected]:
    length = bar_length(request)
    rows = rows_of(content["candles"], request, "candles")

    def build(row: Any) -> Record | None:
        return bar(
            request,
            epoch_ms(row, "time"),
            length,
            prices(row),
            time_field="time",
        )

    return each(rows, build)


def _settled(row: Any, request: Request) -> Record | None:
    exact = iso_time(row, "timestamp")
    event_at = settlement_hour(exact, "timestamp")
    if not in_window(request, event_at):
        return None
    if event_at < HOURLY_FUNDING_SINCE:
        raise FieldError("timestamp", f"before {HOURLY_FUNDING_SINCE:%Y-%m-%d} the interval of the rate is not stated")
    return Record(
        asked_symbol(request),
        event_at,
        {
            "kind": "settled",
            "rate": decimal(row, "relativeFundingRate"),
            "interval_hours": Decimal(1),
            "settled_at": exact,
        },
    )


def _predicted(row: Any, content: Mapping[str, Any], request: Request) -> Record:
    price = decimal(row, "indexPrice")
    if price <= 0:
        raise FieldError("indexPrice", "no positive price to make the absolute rate relative")
    return Record(
        asked_symbol(request),
        floor(iso_time(content, "serverTime"), HOUR) + HOUR,
        {
            "kind": "predicted",
            "rate": _EXACT.divide(decimal(row, "fundingRatePrediction"), price),
            "interval_hours": Decimal(1),
        },
    )


def _tickers(content: Mapping[str, Any], request: Request) -> list[Any]:
    rows = [content["ticker"]] if "ticker" in content else rows_of(content.get("tickers"), request, "tickers")
    name = request.venue_symbol.upper()
    if not name:
        raise violation(request, "a ticker needs the instrument that it was asked for")
    found = [row for row in rows if isinstance(row, Mapping) and str(row.get("symbol")).upper() == name]
    if not found:
        raise violation(request, f"no ticker of {request.venue_symbol}")
    return found


def _content(body: bytes, request: Request) -> Mapping[str, Any]:
    content = read_json(body, request)
    if not isinstance(content, Mapping):
        raise violation(request, f"body is {type(content).__name__}, not an object")
    said = content.get("error") or content.get("errors")
    if said:
        raise violation(request, f"Kraken says {str(said)[:200]}")
    return content


def _plain(pair: str) -> str:
    """One spelling for `XXBTZUSD`, `XBTUSD`, `XBT/USD` and `BTC/USD`."""
    bare = pair.replace("/", "")
    legacy = _LEGACY_PAIR.fullmatch(bare)
    if legacy:
        bare = legacy[1] + legacy[2]
    return bare.replace("XBT", "BTC").replace("XDG", "DOGE")


def _request(
    dataset: str,
    client: str,
    endpoint: str,
    params: Mapping[str, str | int],
    instrument: Instrument,
    window: Window,
    timeframe: str = "",
) -> Request:
    return Request(
        source=SLUG,
        dataset=dataset,
        client=client,
        endpoint=endpoint,
        params=params,
        symbol=instrument.symbol,
        venue_symbol=instrument.venue_symbol,
        market=instrument.market,
        timeframe=timeframe,
        start=window.start,
        end=window.end,
    )


_CADENCES = {
    "1m": Cadence.QUARTER_HOURLY,
    "15m": Cadence.QUARTER_HOURLY,
    "1h": Cadence.HOURLY,
    "1d": Cadence.DAILY,
}
_SPOT = tuple(
    Feed(
        dataset="ohlcv",
        cadence=cadence,
        timeframe=timeframe,
        variant="spot",
        requests=spot_requests(timeframe),
        parse=parse_ohlcv,
        kinds=(InstrumentKind.SPOT,),
        markets=("spot",),
        freshness=duration(timeframe) + 2 * cadence.period,
        # The 720th is the unfinished bar.
        history=(SPOT_BARS - 1) * duration(timeframe),
    )
    for timeframe, cadence in _CADENCES.items()
)
_FUTURES = tuple(
    Feed(
        dataset="ohlcv",
        cadence=cadence,
        timeframe=timeframe,
        variant="futures",
        requests=futures_requests(timeframe),
        parse=parse_ohlcv,
        kinds=(InstrumentKind.PERPETUAL,),
        markets=("futures",),
        freshness=duration(timeframe) + 2 * cadence.period,
    )
    for timeframe, cadence in _CADENCES.items()
)
_FUNDING = (
    Feed(
        dataset="funding_rates",
        cadence=Cadence.HOURLY,
        variant="settled",
        requests=funding_requests,
        parse=parse_funding,
        kinds=(InstrumentKind.PERPETUAL,),
        markets=("futures",),
        freshness=timedelta(hours=3),
    ),
    Feed(
        dataset="funding_rates",
        cadence=Cadence.QUARTER_HOURLY,
        variant="predicted",
        requests=ticker_requests("funding_rates"),
        parse=parse_funding,
        mode=Mode.NOW,
        kinds=(InstrumentKind.PERPETUAL,),
        markets=("futures",),
        freshness=timedelta(minutes=30),
    ),
)
_OPEN_INTEREST = Feed(
    dataset="open_interest",
    cadence=Cadence.QUARTER_HOURLY,
    requests=ticker_requests("open_interest"),
    parse=parse_open_interest,
    mode=Mode.NOW,
    kinds=(InstrumentKind.PERPETUAL,),
    markets=("futures",),
    freshness=timedelta(minutes=30),
)

SPEC = SourceSpec(
    slug=SLUG,
    title="Kraken and Kraken Futures",
    domain=Domain.EXCHANGES,
    docs_url="https://docs.kraken.com/api/",
    licence="Kraken market data terms: internal use; no redistribution of raw data.",
    feeds=(*_SPOT, *_FUTURES, *_FUNDING, _OPEN_INTEREST),
    parsers={"trades": parse_trades},
    requests_per_second=1,
    hosts=("api.kraken.com", "futures.kraken.com"),
)
