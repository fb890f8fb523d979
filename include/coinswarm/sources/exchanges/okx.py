"""OKX: spot and perpetual swaps.

Traps: every page is newest first and may begin with an open bar (`confirm` "0"); swaps count volume and open interest
in contracts; days are those of Hong Kong unless the bar is called `1Dutc`; errors come with HTTP 200 and a `code`; bars
of 8 h do not exist (the feed is for replayed history and is never scheduled).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.errors import UserError
from coinswarm.registry import Instrument, InstrumentKind
from coinswarm.registry.instruments import canonical_symbol
from coinswarm.sources.exchanges._bars import bar_length, bar_pages, check_grid, is_closed, pages
from coinswarm.sources.exchanges._books import levels
from coinswarm.sources.exchanges._feeds import bar_feeds, funding_feeds
from coinswarm.sources.exchanges._funding import (
    HOUR,
    KNOWN_HOURS,
    LEAD_IN,
    LEAD_IN_ROWS,
    interval_by_grid,
    interval_of,
    intervals,
    settlement_hour,
    settlements,
)
from coinswarm.sources.exchanges._ratios import period_of
from coinswarm.sources.exchanges._symbols import asked_market, asked_symbol, in_window, listed_symbol, symbol_of_row
from coinswarm.sources.exchanges._trades import Page, Span, TradeHistory, by_trade_id, lowest, sizes
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

SLUG = "okx"
MARKETS = ("spot", "swap")
_BARS = {"1m": "1m", "15m": "15m", "1h": "1H", "8h": "8H", "1d": "1Dutc"}
_PAGE_LIMIT = 100
_STATISTICS_PERIOD = "15m"
# The statistics keep 1,440 points.
_STATISTICS_HISTORY = timedelta(minutes=15) * 1440
_RATIO_KINDS = {
    "LongShortAccountRatioContract": "global_accounts",
    "LongShortAccountRatioContractTopTrader": "top_accounts",
    "LongShortPositionRatioContractTopTrader": "top_positions",
    "TakerVolumeContract": "taker_volume",
}
_STATISTICS = "publicGetRubikStat"


def _request(instrument: Instrument, dataset: str, endpoint: str, window: Window, **fields: Any) -> Request:
    return Request(
        source=SLUG,
        dataset=dataset,
        endpoint=endpoint,
        client="okx",
        symbol=instrument.symbol,
        venue_symbol=instrument.venue_symbol,
        market=instrument.market,
        start=window.start,
        end=window.end,
        **fields,
    )


def _one(instrument: Instrument | None) -> Instrument:
    if instrument is None:
        raise UserError(f"{SLUG} is asked per instrument")
    return instrument


def _between(window: Window) -> dict[str, str | int]:
    # Both limits are exclusive, and `after` is the later one: OKX pages backwards.
    return {"before": milliseconds(window.start) - 1, "after": milliseconds(window.end)}


# ---- bars


def _bar_requests(timeframe: str) -> RequestBuilder:
    def build(instrument: Instrument | None, window: Window) -> Iterator[Request]:
        one = _one(instrument)
        for page in bar_pages(window, timeframe, _PAGE_LIMIT):
            params = {"instId": one.venue_symbol, "bar": _BARS[timeframe], "limit": _PAGE_LIMIT, **_between(page)}
            endpoint = "publicGetMarketHistoryCandles"
            yield _request(one, "ohlcv", endpoint, page, timeframe=timeframe, params=params)

    return build


def parse_ohlcv(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Candles: `[open time, o, h, l, c, vol, volCcy, volCcyQuote, confirm]`, newest first.

    `vol` is base (spot) or contracts (swap), `volCcy` quote (spot) or base coin (swap), `volCcyQuote` always quote.
    """
    rows = _rows(body, request)
    symbol, length = asked_symbol(request), bar_length(request)
    base_field = 5 if asked_market(request) == "spot" else 6

    def build(row: Any) -> Record | None:
        opened = check_grid(epoch_ms(row, 0), length, "ts")
        if not in_window(request, opened):
            return None
        confirmed = text(row, 8)
        if confirmed not in ("0", "1"):
            raise FieldError("confirm", f"{confirmed[:20]!r} is neither 0 nor 1")
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
                "volume_quote": decimal(row, 7),
            },
            final=confirmed == "1" and is_closed(opened, length, request),
        )

    return each(rows, build)


# ---- funding


def _settled_requests(instrument: Instrument | None, window: Window) -> Iterator[Request]:
    one = _one(instrument)
    for page in pages(window, HOUR, _PAGE_LIMIT - LEAD_IN_ROWS):
        params = {"instId": one.venue_symbol, "limit": _PAGE_LIMIT, **_between(Window(page.start - LEAD_IN, page.end))}
        yield _request(one, "funding_rates", "publicGetPublicFundingRateHistory", page, params=params)


def _predicted_requests(instrument: Instrument | None, window: Window) -> Iterator[Request]:
    one = _one(instrument)
    yield _request(one, "funding_rates", "publicGetPublicFundingRate", window, params={"instId": one.venue_symbol})


def parse_funding_rates(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Settled rates (history: what was realised), and the running estimate (rows with `nextFundingTime`)."""
    rows = _rows(body, request)
    hours = intervals(settlements(rows, "fundingTime"))

    def build(row: Any) -> Record | None:
        symbol = symbol_of_row(request, text(row, "instId"), ("swap",))
        exact = epoch_ms(row, "fundingTime")
        settled = settlement_hour(exact, "fundingTime")
        if "nextFundingTime" in row:
            rate, interval = decimal(row, "fundingRate"), _interval(row, exact)
            return Record(symbol, settled, {"kind": "predicted", "rate": rate, "interval_hours": interval})
        if not in_window(request, settled):
            return None
        realised = optional_decimal(row, "realizedRate")
        return Record(
            symbol,
            settled,
            {
                "kind": "settled",
                "rate": decimal(row, "fundingRate") if realised is None else realised,
                "interval_hours": interval_of(settled, hours),
                "settled_at": exact,
            },
        )

    return each(rows, build)


def _interval(row: Any, settled: Any) -> Decimal:
    if row["nextFundingTime"] in ("", None):
        return interval_by_grid(settlement_hour(settled, "fundingTime"))
    hours = (settlement_hour(epoch_ms(row, "nextFundingTime"), "nextFundingTime") - settled + HOUR / 2) // HOUR
    if hours not in KNOWN_HOURS:
        raise FieldError("nextFundingTime", f"{hours} h after fundingTime is not a funding interval")
    return Decimal(hours)


# ---- open interest and ratios


def _statistics_requests(dataset: str, names: tuple[str, ...]) -> RequestBuilder:
    def build(instrument: Instrument | None, window: Window) -> Iterator[Request]:
        one = _one(instrument)
        for page in pages(window, timedelta(minutes=15), _PAGE_LIMIT):
            for name in names:
                params: dict[str, str | int] = {
                    "instId": one.venue_symbol,
                    "period": _STATISTICS_PERIOD,
                    "begin": milliseconds(page.start) - 1,
                    "end": milliseconds(page.end),
                    "limit": _PAGE_LIMIT,
                }
                if name == "TakerVolumeContract":
                    params["unit"] = "0"  # coin
                endpoint = f"{_STATISTICS}{'' if name == 'TakerVolumeContract' else 'Contracts'}{name}"
                yield _request(one, dataset, endpoint, page, params=params)

    return build


def parse_open_interest(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """`[ts, contracts, coin, dollars]`, newest first; OKX counts one side."""
    rows = _rows(body, request)
    symbol = asked_symbol(request)

    def build(row: Any) -> Record | None:
        moment = epoch_ms(row, 0)
        if not in_window(request, moment):
            return None
        return Record(
            symbol,
            moment,
            {
                "open_interest_base": decimal(row, 2),
                "open_interest_usd": decimal(row, 3),
                "open_interest_native": decimal(row, 1),
            },
        )

    return each(rows, build)


def parse_long_short_ratios(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """`[ts, ratio]`, and `[ts, SELL, BUY]` for taker volume; newest first.

    A loose body without its endpoint is read by its width: as that of all accounts, or as taker volume.
    """
    rows = _rows(body, request)
    symbol = asked_symbol(request)
    period = period_of(rows, request, lambda row: epoch_ms(row, 0))
    asked_kind = _RATIO_KINDS.get(request.endpoint.partition("RubikStat")[2].removeprefix("Contracts"), "")

    def build(row: Any) -> Record | None:
        moment = epoch_ms(row, 0)
        if not in_window(request, moment):
            return None
        taker = len(row) == 3
        kind = asked_kind or ("taker_volume" if taker else "global_accounts")
        if taker != (kind == "taker_volume"):
            raise FieldError("row", f"{len(row)} columns are not those of {kind}")
        values: dict[str, Any] = {"ratio_kind": kind, "period": period}
        if taker:
            sold, bought = decimal(row, 1), decimal(row, 2)
            values |= {"ratio": bought / sold, "long_share": bought, "short_share": sold}
        else:
            values["ratio"] = decimal(row, 1)
        return Record(symbol, moment, values)

    return each(rows, build)


# ---- payloads without a feed


def parse_trades(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Trades; `side` is what the taker did. Sizes of swaps come in contracts."""

    def build(row: Any) -> Record:
        symbol, price = _symbol(row, request), decimal(row, "px")
        return Record(
            symbol,
            epoch_ms(row, "ts"),
            {
                "trade_id": text(row, "tradeId"),
                "trade_kind": "trade",
                "price": price,
                **sizes(SLUG, symbol, decimal(row, "sz"), price),
                "side": text(row, "side"),
            },
        )

    return each(_rows(body, request), build)


def _trades_before(instrument: Instrument, span: Span, page: Page | None) -> Request | None:
    # Pages run backwards; `after` is exclusive, and means the earlier ones.
    if page is None:
        by_id = span.last is not None
        after = span.last + 1 if span.last is not None else milliseconds(span.end)
    else:
        first, by_id = lowest(page, by_trade_id), True
        if first is None or (span.first is not None and first <= span.first):
            return None
        if span.first is None and min(record.event_at for record in page.records) < span.start:
            return None
        after = first
    params = {"instId": instrument.venue_symbol, "type": 1 if by_id else 2, "after": after, "limit": _PAGE_LIMIT}
    endpoint = "publicGetMarketHistoryTrades"
    return _request(instrument, "trades", endpoint, Window(span.start, span.end), params=params)


# 20 requests in 2 s.
_HISTORY = TradeHistory(_trades_before, parse_trades, seconds=0.15, number=by_trade_id, reach=timedelta(days=90))
TRADE_HISTORY = {"spot": _HISTORY, "swap": _HISTORY}


def parse_order_books(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """A book of `[price, size, "0", orders]` levels; sizes of swaps are contracts."""
    symbol = asked_symbol(request)

    def build(row: Any) -> Record:
        return Record(
            symbol,
            epoch_ms(row, "ts"),
            {
                "bids": levels(item(row, "bids"), "bids", best_is_highest=True),
                "asks": levels(item(row, "asks"), "asks", best_is_highest=False),
                "last_update_id": whole(row, "seqId") if "seqId" in row else None,
            },
        )

    return each(_rows(body, request), build)


def parse_tickers(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """24 h statistics and the top of the book."""

    def build(row: Any) -> Record:
        spot = _kind(row) is InstrumentKind.SPOT
        return Record(
            _symbol(row, request),
            epoch_ms(row, "ts"),
            {
                "last": optional_decimal(row, "last"),
                "bid": optional_decimal(row, "bidPx"),
                "bid_size": optional_decimal(row, "bidSz") if spot else None,
                "ask": optional_decimal(row, "askPx"),
                "ask_size": optional_decimal(row, "askSz") if spot else None,
                "open": optional_decimal(row, "open24h"),
                "high": optional_decimal(row, "high24h"),
                "low": optional_decimal(row, "low24h"),
                "volume_base": optional_decimal(row, "vol24h" if spot else "volCcy24h"),
                "volume_quote": optional_decimal(row, "volCcy24h") if spot else None,
            },
        )

    return each(_rows(body, request), build)


def _symbol(row: Any, request: Request) -> str:
    return listed_symbol(request, text(row, "instId"), MARKETS)


_KINDS = {
    "SPOT": InstrumentKind.SPOT,
    "SWAP": InstrumentKind.PERPETUAL,
    "FUTURES": InstrumentKind.FUTURE,
    "OPTION": InstrumentKind.OPTION,
}


def parse_instruments(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """What OKX trades; `event_at` is the time of listing."""

    def build(row: Any) -> Record:
        kind = _kind(row)
        base, quote = _pair(row, kind)
        expires = epoch_ms(row, "expTime") if text(row, "expTime") else None
        strike = optional_decimal(row, "stk")
        option_type = {"C": "call", "P": "put"}.get(row.get("optType", ""))
        try:
            symbol = canonical_symbol(base, quote, kind, expires_at=expires, strike=strike, option_type=option_type)
        except UserError as error:
            raise FieldError("instId", str(error)) from None
        return Record(
            symbol,
            epoch_ms(row, "listTime"),
            {
                "venue_symbol": text(row, "instId"),
                "kind": kind.value,
                "base": base,
                "quote": quote,
                "settle": text(row, "settleCcy") or None,
                "contract_size": optional_decimal(row, "ctVal"),
                "tick_size": optional_decimal(row, "tickSz"),
                "expires_at": expires,
            },
        )

    return each(_rows(body, request), build)


def _kind(row: Any) -> InstrumentKind:
    stated = text(row, "instType")
    if stated not in _KINDS:
        raise FieldError("instType", f"{stated[:40]!r} is not a known kind")
    return _KINDS[stated]


def _pair(row: Any, kind: InstrumentKind) -> tuple[str, str]:
    if kind is InstrumentKind.SPOT:
        return text(row, "baseCcy"), text(row, "quoteCcy")
    base, separator, quote = text(row, "uly").partition("-")
    if not separator or not base or not quote:
        raise FieldError("uly", f"{row['uly'][:40]!r} is not a pair")
    return base, quote


# ---- bodies


def _rows(body: bytes, request: Request) -> list[Any]:
    value = read_json(body, request)
    if not isinstance(value, dict) or "code" not in value:
        raise violation(request, f"body is {type(value).__name__} without code and data")
    if value["code"] != "0":
        raise violation(request, f"OKX refused: {str(value['code'])[:20]} {str(value.get('msg'))[:200]}")
    return rows_of(value.get("data"), request, "data")


SPEC = SourceSpec(
    slug=SLUG,
    title="OKX",
    domain=Domain.EXCHANGES,
    docs_url="https://www.okx.com/docs-v5/en/",
    licence="Market data under OKX's terms of use; no redistribution.",
    feeds=(
        *bar_feeds(_bar_requests, parse_ohlcv),
        # OKX keeps three months of settled funding and answers older questions with an empty page.
        *funding_feeds(_settled_requests, _predicted_requests, parse_funding_rates),
        Feed(
            "open_interest",
            Cadence.QUARTER_HOURLY,
            _statistics_requests("open_interest", ("OpenInterestHistory",)),
            parse_open_interest,
            kinds=(InstrumentKind.PERPETUAL,),
            history=_STATISTICS_HISTORY,
        ),
        Feed(
            "long_short_ratios",
            Cadence.QUARTER_HOURLY,
            _statistics_requests("long_short_ratios", tuple(_RATIO_KINDS)),
            parse_long_short_ratios,
            kinds=(InstrumentKind.PERPETUAL,),
            history=_STATISTICS_HISTORY,
        ),
    ),
    parsers={
        "trades": parse_trades,
        "order_books": parse_order_books,
        "tickers": parse_tickers,
        "instruments": parse_instruments,
    },
    # Limits are per endpoint: history-candles 10, funding history 5, statistics 2.5 a second; ccxt waits by them.
    requests_per_second=10,
    hosts=("www.okx.com",),
)
