"""Coinbase Advanced Trade: public market candles and book snapshots.

A page holds at most 350 candles, newest first, in text; intervals without a trade are left out. There is no 8 h
granularity, and aggregating it from others would not be what the venue said.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.registry import Instrument, InstrumentKind
from coinswarm.sources.exchanges._bars import bar_length, bar_pages
from coinswarm.sources.exchanges._books import levels
from coinswarm.sources.exchanges._trades import Page, Span, TradeHistory, by_trade_id, to_millisecond
from coinswarm.sources.exchanges._windowed import bar, given, prices, seconds
from coinswarm.sources.reading import decimal, each, epoch_s, iso_time, item, read_json, rows_of, text, violation
from coinswarm.sources.spec import Cadence, Feed, Request, RequestBuilder, SourceSpec
from coinswarm.timeframes import Window, duration

SLUG = "coinbase"
GRANULARITIES = {"1m": "ONE_MINUTE", "15m": "FIFTEEN_MINUTE", "1h": "ONE_HOUR", "1d": "ONE_DAY"}
PAGE = 300
TRADES_PAGE = 1000
# The venue states the side of the maker.
_TAKER_SIDE = {"BUY": "sell", "SELL": "buy"}
_PRODUCT = re.compile(r"[A-Z0-9]{1,12}-[A-Z0-9]{1,12}", re.ASCII)
SECOND = timedelta(seconds=1)


def ohlcv_requests(timeframe: str) -> RequestBuilder:
    """Builder of candle requests: at most 300 bars a page, oldest page first."""

    def build(instrument: Instrument | None, window: Window) -> Iterable[Request]:
        instrument = given(SLUG, instrument)
        for page in bar_pages(window, timeframe, PAGE):
            yield Request(
                source=SLUG,
                dataset="ohlcv",
                client="coinbase",
                endpoint="v3PublicGetBrokerageMarketProductsProductIdCandles",
                params={
                    "product_id": instrument.venue_symbol,
                    "granularity": GRANULARITIES[timeframe],
                    "start": str(seconds(page.start)),
                    # The end is inclusive: one second less keeps the next page's first bar out.
                    "end": str(seconds(page.end - SECOND)),
                },
                symbol=instrument.symbol,
                venue_symbol=instrument.venue_symbol,
                market=instrument.market,
                timeframe=timeframe,
                start=page.start,
                end=page.end,
            )

    return build


def parse_ohlcv(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Candles of one product: `{"candles": [{start, low, high, open, close, volume}, …]}`, newest first."""
    length = bar_length(request)

    def build(row: Any) -> Record | None:
        return bar(
            request,
            epoch_s(row, "start"),
            length,
            prices(row),
            time_field="start",
        )

    return each(rows_of(_envelope(body, request, "candles"), request, "candles"), build)


def parse_trades(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Trades of one product: `{"trades": [{trade_id, product_id, price, size, time, side}, …]}`, newest first."""

    def build(row: Any) -> Record:
        return Record(
            _symbol(text(row, "product_id"), request),
            to_millisecond(iso_time(row, "time")),
            {
                "trade_id": text(row, "trade_id"),
                "trade_kind": "trade",
                "price": decimal(row, "price"),
                "size_base": decimal(row, "size"),
                "side": _TAKER_SIDE.get(text(row, "side").upper(), text(row, "side")),
            },
        )

    return each(rows_of(_envelope(body, request, "trades"), request, "trades"), build)


def _trades_before(instrument: Instrument, span: Span, page: Page | None) -> Request | None:
    # By whole seconds, and a full page is followed by the one before it.
    end = seconds(span.end + SECOND)
    if page is not None:
        if len(page.records) < TRADES_PAGE:
            return None
        end = seconds(min(record.event_at for record in page.records)) + 1
        if end <= seconds(span.start) or str(end) == page.request.params["end"]:
            return None
    return Request(
        source=SLUG,
        dataset="trades",
        client="coinbase",
        endpoint="v3PublicGetBrokerageMarketProductsProductIdTicker",
        params={
            "product_id": instrument.venue_symbol,
            "limit": TRADES_PAGE,
            "start": str(seconds(span.start)),
            "end": str(end),
        },
        symbol=instrument.symbol,
        venue_symbol=instrument.venue_symbol,
        market=instrument.market,
        start=span.start,
        end=span.end,
    )


TRADE_HISTORY = {"spot": TradeHistory(_trades_before, parse_trades, seconds=0.2, number=by_trade_id, from_start=True)}


def parse_order_book(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Book snapshot of one product: `{"pricebook": {product_id, bids, asks, time}}`."""

    def build(row: Any) -> Record:
        return Record(
            _symbol(text(row, "product_id"), request),
            iso_time(row, "time"),
            {"bids": _levels(row, "bids", best_is_highest=True), "asks": _levels(row, "asks", best_is_highest=False)},
        )

    return each([_envelope(body, request, "pricebook")], build)


def _envelope(body: bytes, request: Request, key: str) -> Any:
    content = read_json(body, request)
    if isinstance(content, Mapping) and key in content:
        return content[key]
    said = str(content.get("message") or content.get("error")) if isinstance(content, Mapping) else ""
    raise violation(request, f"no {key!r} in the body{': ' + said[:200] if said else ''}")


def _symbol(product: str, request: Request) -> str:
    if request.venue_symbol and request.venue_symbol != product:
        raise FieldError("product_id", f"{product[:40]!r} is not the {request.venue_symbol} that was asked")
    if request.symbol != "global":
        return request.symbol
    # Coinbase names products as we name spot instruments, so that a loose file speaks for itself.
    if not _PRODUCT.fullmatch(product):
        raise FieldError("product_id", f"{product[:40]!r} is not <base>-<quote>")
    return product


def _levels(row: Any, side: str, *, best_is_highest: bool) -> list[list[str]]:
    given_levels = item(row, side)
    if not isinstance(given_levels, list):
        raise FieldError(side, f"{type(given_levels).__name__} instead of a list")
    pairs = [[item(level, "price"), item(level, "size")] for level in given_levels]
    return levels(pairs, side, best_is_highest=best_is_highest)


_CADENCES = {
    "1m": Cadence.QUARTER_HOURLY,
    "15m": Cadence.QUARTER_HOURLY,
    "1h": Cadence.HOURLY,
    "1d": Cadence.DAILY,
}

SPEC = SourceSpec(
    slug=SLUG,
    title="Coinbase Advanced Trade",
    domain=Domain.EXCHANGES,
    docs_url="https://docs.cdp.coinbase.com/advanced-trade/docs/rest-api-overview",
    licence="Coinbase market data terms: internal use; no redistribution of raw data.",
    feeds=tuple(
        Feed(
            dataset="ohlcv",
            cadence=cadence,
            timeframe=timeframe,
            requests=ohlcv_requests(timeframe),
            parse=parse_ohlcv,
            kinds=(InstrumentKind.SPOT,),
            freshness=duration(timeframe) + 2 * cadence.period,
        )
        for timeframe, cadence in _CADENCES.items()
    ),
    parsers={"order_books": parse_order_book, "trades": parse_trades},
    # No table is published any more; the old public limit of ten a second is respected with room to spare.
    requests_per_second=8,
    hosts=("api.coinbase.com",),
)
