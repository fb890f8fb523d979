"""Bybit: spot, linear and inverse perpetuals.

Traps: pages are newest first and the last bar is open; inverse bars count volume in dollars and turnover in coin; open
interest counts both sides; funding history with a start but without an end is an error; a 403 is a rate ban (or a
regional refusal, then the body says so); errors come with HTTP 200 and a `retCode`; bars of 8 h do not exist (the feed
is for replayed history and is never scheduled).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.errors import UserError
from coinswarm.registry import Instrument, InstrumentKind
from coinswarm.sources.exchanges._bars import bar_length, bar_pages, check_grid, is_closed, pages
from coinswarm.sources.exchanges._books import levels
from coinswarm.sources.exchanges._feeds import bar_feeds, funding_feeds
from coinswarm.sources.exchanges._funding import (
    HOUR,
    LEAD_IN,
    LEAD_IN_ROWS,
    interval_by_grid,
    interval_of,
    intervals,
    settlement_hour,
    settlements,
)
from coinswarm.sources.exchanges._ratios import period_of
from coinswarm.sources.exchanges._symbols import asked_symbol, in_window, listed_symbol, symbol_of_row
from coinswarm.sources.exchanges._trades import Page, Span, TradeHistory, sizes
from coinswarm.sources.reading import (
    decimal,
    each,
    epoch_ms,
    item,
    optional_decimal,
    read_json,
    rows_of,
    text,
    violation,
    whole,
)
from coinswarm.sources.spec import Cadence, Feed, Request, RequestBuilder, SourceSpec
from coinswarm.timeframes import Window, milliseconds

SLUG = "bybit"
MARKETS = ("spot", "linear", "inverse")
DERIVATIVES = ("linear", "inverse")
_BARS = {"1m": "1", "15m": "15", "1h": "60", "8h": "480", "1d": "D"}
_BARS_LIMIT = 1000
_PAGE_LIMIT = 200
_RATIO_LIMIT = 500
_STATISTICS_PERIOD = "15min"
_BAN_SECONDS = 600.0


def _request(instrument: Instrument, dataset: str, name: str, window: Window, **fields: Any) -> Request:
    params = {"category": instrument.market, "symbol": instrument.venue_symbol, **fields.pop("params", {})}
    return Request(
        source=SLUG,
        dataset=dataset,
        endpoint=f"publicGetV5Market{name}",
        client="bybit",
        symbol=instrument.symbol,
        venue_symbol=instrument.venue_symbol,
        market=instrument.market,
        start=window.start,
        end=window.end,
        params=params,
        **fields,
    )


def _one(instrument: Instrument | None) -> Instrument:
    if instrument is None:
        raise UserError(f"{SLUG} is asked per instrument")
    return instrument


def _between(window: Window) -> dict[str, str | int]:
    return {"startTime": milliseconds(window.start), "endTime": milliseconds(window.end) - 1}


# ---- bars


def _bar_requests(timeframe: str) -> RequestBuilder:
    def build(instrument: Instrument | None, window: Window) -> Iterator[Request]:
        for page in bar_pages(window, timeframe, _BARS_LIMIT):
            params = {
                "interval": _BARS[timeframe],
                "start": milliseconds(page.start),
                "end": milliseconds(page.end) - 1,
                "limit": _BARS_LIMIT,
            }
            yield _request(_one(instrument), "ohlcv", "Kline", page, timeframe=timeframe, params=params)

    return build


def parse_ohlcv(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Klines: `[open time, o, h, l, c, volume, turnover]`, newest first; inverse volume is dollars, turnover coin."""
    result = _result(body, request)
    symbol, length = _symbol_of(result, request), bar_length(request)
    base_field, quote_field = (6, 5) if _category(result, request) == "inverse" else (5, 6)

    def build(row: Any) -> Record | None:
        opened = check_grid(epoch_ms(row, 0), length, "startTime")
        if not in_window(request, opened):
            return None
        return Record(
            symbol,
            opened,
            {
                "timeframe": request.timeframe,
                "open": decimal(row, 1),
                "high": decimal(row, 2),
                "low": decimal(row, 3),
                "close": decimal(row, 4),
                "volume_base": decimal(row, base_field),
                "volume_quote": decimal(row, quote_field),
            },
            final=is_closed(opened, length, request),
        )

    return each(_list(result, request), build)


# ---- funding


def _settled_requests(instrument: Instrument | None, window: Window) -> Iterator[Request]:
    for page in pages(window, HOUR, _PAGE_LIMIT - LEAD_IN_ROWS):
        params = {"limit": _PAGE_LIMIT, **_between(Window(page.start - LEAD_IN, page.end))}
        yield _request(_one(instrument), "funding_rates", "FundingHistory", page, params=params)


def _predicted_requests(instrument: Instrument | None, window: Window) -> Iterator[Request]:
    yield _request(_one(instrument), "funding_rates", "Tickers", window)


def parse_funding_rates(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Settled rates (`fundingRateTimestamp` rows), and the running estimate of tickers (`nextFundingTime` rows)."""
    result = _result(body, request)
    rows = _list(result, request)
    hours = intervals(settlements(rows, "fundingRateTimestamp"))

    def build(row: Any) -> Record | None:
        if "nextFundingTime" in row and item(row, "fundingRate") == "":
            return None  # a dated future pays none
        symbol = symbol_of_row(_with_category(result, request), text(row, "symbol"), DERIVATIVES)
        if "nextFundingTime" in row:
            return _predicted(row, symbol)
        exact = epoch_ms(row, "fundingRateTimestamp")
        settled = settlement_hour(exact, "fundingRateTimestamp")
        if not in_window(request, settled):
            return None
        return Record(
            symbol,
            settled,
            {
                "kind": "settled",
                "rate": decimal(row, "fundingRate"),
                "interval_hours": interval_of(settled, hours),
                "settled_at": exact,
            },
        )

    return each(rows, build)


def _predicted(row: Any, symbol: str) -> Record:
    following = settlement_hour(epoch_ms(row, "nextFundingTime"), "nextFundingTime")
    hours = optional_decimal(row, "fundingIntervalHour")
    return Record(
        symbol,
        following,
        {
            "kind": "predicted",
            "rate": decimal(row, "fundingRate"),
            "interval_hours": interval_by_grid(following) if hours is None else hours,
        },
    )


# ---- open interest and ratios


def _interest_requests(instrument: Instrument | None, window: Window) -> Iterator[Request]:
    for page in pages(window, timedelta(minutes=15), _PAGE_LIMIT):
        params = {"intervalTime": _STATISTICS_PERIOD, "limit": _PAGE_LIMIT, **_between(page)}
        yield _request(_one(instrument), "open_interest", "OpenInterest", page, params=params)


def parse_open_interest(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Open interest of linear contracts in base units; `openInterest` counts both sides, so half of it is ours.

    `singleOpenInterest` is taken where the row has it. Inverse contracts count dollars, and no price comes along.
    """
    result = _result(body, request)
    symbol = _symbol_of(result, request)
    if _category(result, request) != "linear":
        raise violation(request, "only linear contracts state their open interest in base units")

    def build(row: Any) -> Record | None:
        moment = epoch_ms(row, "timestamp")
        if not in_window(request, moment):
            return None
        both = decimal(row, "openInterest")
        single = optional_decimal(row, "singleOpenInterest")
        base = both / 2 if single is None else single
        return Record(symbol, moment, {"open_interest_base": base, "open_interest_native": both})

    return each(_list(result, request), build)


def _ratio_requests(instrument: Instrument | None, window: Window) -> Iterator[Request]:
    for page in pages(window, timedelta(minutes=15), _RATIO_LIMIT):
        params = {"period": _STATISTICS_PERIOD, "limit": _RATIO_LIMIT, **_between(page)}
        yield _request(_one(instrument), "long_short_ratios", "AccountRatio", page, params=params)


def parse_long_short_ratios(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Shares of accounts that are long and short, newest first; the ratio is their quotient."""
    rows = _list(_result(body, request), request)
    period = period_of(rows, request, lambda row: epoch_ms(row, "timestamp"))

    def build(row: Any) -> Record | None:
        symbol = symbol_of_row(request, text(row, "symbol"), DERIVATIVES)
        moment = epoch_ms(row, "timestamp")
        if not in_window(request, moment):
            return None
        long, short = decimal(row, "buyRatio"), decimal(row, "sellRatio")
        return Record(
            symbol,
            moment,
            {
                "ratio_kind": "global_accounts",
                "period": period,
                "ratio": long / short,
                "long_share": long,
                "short_share": short,
            },
        )

    return each(rows, build)


# ---- payloads without a feed


def parse_trades(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Recent trades; `side` is what the taker did. Sizes of inverse contracts come in dollars."""
    result = _result(body, request)

    def build(row: Any) -> Record:
        symbol = listed_symbol(_with_category(result, request), text(row, "symbol"), MARKETS)
        price = decimal(row, "price")
        return Record(
            symbol,
            epoch_ms(row, "time"),
            {
                "trade_id": text(row, "execId"),
                "trade_kind": "trade",
                "price": price,
                **sizes(SLUG, symbol, decimal(row, "size"), price),
                "side": text(row, "side").lower(),
            },
        )

    return each(_list(result, request), build)


def _recent_trades(instrument: Instrument, span: Span, page: Page | None) -> Request | None:
    # There is one page, and it does not go back: spot has 60 trades, the others 1,000.
    if page is not None:
        return None
    limit = 60 if instrument.market == "spot" else 1000
    return _request(instrument, "trades", "RecentTrade", Window(span.start, span.end), params={"limit": limit})


TRADE_HISTORY = dict.fromkeys(MARKETS, TradeHistory(_recent_trades, parse_trades, seconds=0.2))


def parse_order_books(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """A book: `b` and `a` of `[price, size]`; `ts` is when the venue made it, `u` its number."""
    result = _result(body, request)

    def build(row: Any) -> Record:
        return Record(
            listed_symbol(request, text(row, "s"), MARKETS),
            epoch_ms(row, "ts"),
            {
                "bids": levels(item(row, "b"), "bids", best_is_highest=True),
                "asks": levels(item(row, "a"), "asks", best_is_highest=False),
                "last_update_id": whole(row, "u"),
            },
        )

    return each([result], build)


def parse_tickers(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """24 h statistics and the top of the book of one or all symbols, at the body's time."""
    result = _result(body, request)
    inverse = _category(result, request) == "inverse"

    def build(row: Any) -> Record:
        return Record(
            listed_symbol(_with_category(result, request), text(row, "symbol"), MARKETS),
            epoch_ms(result, "time"),
            {
                "last": _positive(row, "lastPrice"),
                "bid": _positive(row, "bid1Price"),
                "bid_size": None if inverse else optional_decimal(row, "bid1Size"),
                "ask": _positive(row, "ask1Price"),
                "ask_size": None if inverse else optional_decimal(row, "ask1Size"),
                "open": _positive(row, "prevPrice24h"),
                "high": _positive(row, "highPrice24h"),
                "low": _positive(row, "lowPrice24h"),
                "volume_base": decimal(row, "turnover24h" if inverse else "volume24h"),
                "volume_quote": decimal(row, "volume24h" if inverse else "turnover24h"),
            },
        )

    return each(_list(result, request), build)


def _positive(row: Any, key: str) -> Decimal | None:
    # 0 and "" stand for "no order" and "no trade yet".
    value = optional_decimal(row, key)
    return None if value is not None and value.is_zero() else value


# ---- bodies


def _result(body: bytes, request: Request) -> Mapping[str, Any]:
    value = read_json(body, request)
    if not isinstance(value, dict) or "retCode" not in value:
        raise violation(request, f"body is {type(value).__name__} without retCode and result")
    if value["retCode"] != 0:
        raise violation(request, f"Bybit refused: {str(value['retCode'])[:20]} {str(value.get('retMsg'))[:200]}")
    result = value.get("result")
    if not isinstance(result, dict):
        raise violation(request, f"result is {type(result).__name__}, not an object")
    return {"time": value.get("time"), **result}


def _list(result: Mapping[str, Any], request: Request) -> list[Any]:
    return rows_of(result.get("list"), request, "result.list")


def _category(result: Mapping[str, Any], request: Request) -> str:
    stated = str(result.get("category") or request.market)
    if stated not in MARKETS:
        raise violation(request, f"category {stated[:40]!r} is not one of {', '.join(MARKETS)}")
    if request.market and stated != request.market:
        raise violation(request, f"body is of category {stated}, asked was {request.market[:40]}")
    return stated


def _with_category(result: Mapping[str, Any], request: Request) -> Request:
    return replace(request, market=_category(result, request)) if result.get("category") else request


def _symbol_of(result: Mapping[str, Any], request: Request) -> str:
    if "symbol" not in result:
        return asked_symbol(request)
    try:
        return symbol_of_row(_with_category(result, request), text(result, "symbol"), MARKETS)
    except FieldError as error:
        raise violation(request, str(error)) from None


SPEC = SourceSpec(
    slug=SLUG,
    title="Bybit",
    domain=Domain.EXCHANGES,
    docs_url="https://bybit-exchange.github.io/docs/v5/intro",
    licence="Market data under Bybit's terms of use; no redistribution.",
    feeds=(
        *bar_feeds(_bar_requests, parse_ohlcv),
        *funding_feeds(_settled_requests, _predicted_requests, parse_funding_rates),
        Feed(
            "open_interest",
            Cadence.QUARTER_HOURLY,
            _interest_requests,
            parse_open_interest,
            kinds=(InstrumentKind.PERPETUAL,),
            markets=("linear",),
        ),
        Feed(
            "long_short_ratios",
            Cadence.QUARTER_HOURLY,
            _ratio_requests,
            parse_long_short_ratios,
            kinds=(InstrumentKind.PERPETUAL,),
        ),
    ),
    parsers={"trades": parse_trades, "order_books": parse_order_books, "tickers": parse_tickers},
    # 600 requests in 5 s and address; a breach is a 403 for at least ten minutes, so stay far below.
    requests_per_second=20,
    hosts=("api.bybit.com",),
    rate_limit_statuses={403: _BAN_SECONDS, 429: 30.0},
)
