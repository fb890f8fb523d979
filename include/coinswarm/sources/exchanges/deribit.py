"""Deribit: bars, funding and open interest of the inverse perpetuals, option quotes, DVOL, and the instrument list.

Chart data comes as one array per column, volume in coin and cost in dollars. Open interest of an inverse perpetual is
in dollars. Implied volatilities are in percent. Options on linear underlyings (`XRP_USDC-…-0d5-C`, `d` for the decimal
point) are another product with another settlement and are left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.errors import UserError
from coinswarm.registry import Instrument, InstrumentKind
from coinswarm.registry.instruments import canonical_symbol
from coinswarm.sources.exchanges._bars import bar_length, check_grid, is_closed, pages
from coinswarm.sources.exchanges._funding import settlement_hour
from coinswarm.sources.exchanges._symbols import asked_symbol, in_window, symbol_of_row
from coinswarm.sources.exchanges._trades import Page, Span, TradeHistory, by_sequence, highest, sizes
from coinswarm.sources.exchanges._windowed import bar, given, prices
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
from coinswarm.sources.spec import Cadence, Feed, Mode, Request, RequestBuilder, SourceSpec
from coinswarm.timeframes import Window, duration, from_milliseconds, milliseconds

SLUG = "deribit"
CURRENCIES = ("BTC", "ETH")
RESOLUTIONS = {"1m": "1", "15m": "15", "1h": "60", "1d": "1D"}
BARS_PAGE = 1000
FUNDING_PAGE = 720
INDEX_PAGE = 720
TRADES_PAGE = 1000
HOUR = timedelta(hours=1)
MILLISECOND = timedelta(milliseconds=1)
EXPIRY_HOUR = 8
_EXACT = Context(prec=28)
# An amount is dollars, not contracts of ten of them.
_ONE_DOLLAR = Decimal(1)
_OPTION = re.compile(r"([A-Z][A-Z0-9]{1,9})-(\d{1,2})([A-Z]{3})(\d{2})-(\d{1,12})-([CP])", re.ASCII)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_COLUMNS = ("ticks", "open", "high", "low", "close", "volume", "cost")


def ohlcv_requests(timeframe: str) -> RequestBuilder:
    """Builder of chart requests: at most 1000 bars a page, oldest page first."""
    return _paged(
        "ohlcv",
        "publicGetGetTradingviewChartData",
        duration(timeframe),
        BARS_PAGE,
        timeframe,
        {"resolution": RESOLUTIONS[timeframe]},
    )


def open_interest_requests(instrument: Instrument | None, window: Window) -> Iterable[Request]:
    """One ticker per instrument: the present state, whatever the window."""
    instrument = given(SLUG, instrument)
    yield _request(
        "open_interest",
        "publicGetTicker",
        {"instrument_name": instrument.venue_symbol},
        window,
        symbol=instrument.symbol,
        venue_symbol=instrument.venue_symbol,
        market=instrument.market,
    )


def option_requests(instrument: Instrument | None, window: Window) -> Iterable[Request]:
    """One request per currency: it answers with every living option."""
    for currency in CURRENCIES:
        yield _request(
            "option_quotes",
            "publicGetGetBookSummaryByCurrency",
            {"currency": currency, "kind": "option"},
            window,
            symbol=currency,
            venue_symbol=currency,
            market="option",
        )


def index_requests(instrument: Instrument | None, window: Window) -> Iterable[Request]:
    """Hourly DVOL per currency, in pages below the size at which Deribit would hand out a continuation."""
    for currency in CURRENCIES:
        for page in pages(window, HOUR, INDEX_PAGE):
            yield _request(
                "volatility_indices",
                "publicGetGetVolatilityIndexData",
                {
                    "currency": currency,
                    "resolution": "3600",
                    "start_timestamp": milliseconds(page.start),
                    "end_timestamp": milliseconds(page.end - MILLISECOND),
                },
                page,
                symbol=currency,
                venue_symbol=currency,
                market="index",
                timeframe="1h",
            )


def parse_ohlcv(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Bars from parallel arrays: `{"result": {"ticks": […], "open": […], …, "status": "ok"}}`."""
    length = bar_length(request)
    result = _result(body, request)
    if not isinstance(result, Mapping):
        raise violation(request, f"result is {type(result).__name__}, not an object")
    if result.get("status") == "no_data":
        return iter(())
    columns = [rows_of(result.get(name), request, name) for name in _COLUMNS]
    if len({len(column) for column in columns}) != 1:
        raise violation(request, f"columns of unequal length: {[len(column) for column in columns]}")

    def build(row: Any) -> Record | None:
        return bar(
            request,
            epoch_ms(row, "ticks"),
            length,
            {**prices(row), "volume_quote": decimal(row, "cost")},
            time_field="ticks",
        )

    return each((dict(zip(_COLUMNS, row, strict=True)) for row in zip(*columns, strict=True)), build)


def parse_funding(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Hourly funding: `interest_1h` is the rate of the hour that ended at `timestamp` (decision 0005)."""

    def build(row: Any) -> Record | None:
        exact = epoch_ms(row, "timestamp")
        event_at = settlement_hour(exact, "timestamp")
        if not in_window(request, event_at):
            return None
        return Record(
            asked_symbol(request),
            event_at,
            {
                "kind": "settled",
                "rate": decimal(row, "interest_1h"),
                "interval_hours": Decimal(1),
                "settled_at": exact,
            },
        )

    return each(_rows(body, request), build)


def parse_open_interest(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Open interest in the ticker of an inverse perpetual: dollars, and base units at the mark."""

    def build(row: Any) -> Record:
        name = text(row, "instrument_name")
        symbol = symbol_of_row(request, name, ("perpetual",))
        if "_" in name:
            raise FieldError("instrument_name", f"{name[:40]!r} is linear: its open interest is not in dollars")
        dollars, mark = decimal(row, "open_interest"), decimal(row, "mark_price")
        if mark <= 0:
            raise FieldError("mark_price", f"{str(mark)[:40]} is not a price")
        return Record(
            symbol,
            epoch_ms(row, "timestamp"),
            {
                "open_interest_base": _EXACT.divide(dollars, mark),
                "open_interest_usd": dollars,
                "open_interest_native": dollars,
            },
        )

    return each([_result(body, request)], build)


def parse_option_quotes(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Every living option of a currency; premiums in coin, implied volatility in percent."""

    def build(row: Any) -> Record | None:
        name = text(row, "instrument_name")
        if "_" in name.partition("-")[0]:
            return None
        base, expires_at, strike, option_type = _option(name)
        return Record(
            canonical_symbol(
                base, "USD", InstrumentKind.OPTION, expires_at=expires_at, strike=strike, option_type=option_type
            ),
            epoch_ms(row, "creation_timestamp"),
            {
                "underlying": base,
                "expires_at": expires_at,
                "strike": strike,
                "option_type": option_type,
                "mark_iv_pct": optional_decimal(row, "mark_iv"),
                "mark_price": optional_decimal(row, "mark_price"),
                "bid_price": optional_decimal(row, "bid_price"),
                "ask_price": optional_decimal(row, "ask_price"),
                "underlying_price": optional_decimal(row, "underlying_price"),
                "open_interest_base": optional_decimal(row, "open_interest"),
                "volume_24h_base": optional_decimal(row, "volume"),
            },
        )

    return each(_rows(body, request), build)


def parse_volatility_index(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """DVOL bars `[ms, open, high, low, close]`, in percent. A page cut short by Deribit ends in a rejection."""
    result = _result(body, request)
    if not isinstance(result, Mapping):
        raise violation(request, f"result is {type(result).__name__}, not an object")
    rows = rows_of(result.get("data"), request, "data")

    def build(row: Any) -> Record | None:
        opened = check_grid(epoch_ms(row, 0), HOUR, "0")
        if not in_window(request, opened):
            return None
        return Record(
            asked_symbol(request),
            opened,
            {
                "open_pct": decimal(row, 1),
                "high_pct": decimal(row, 2),
                "low_pct": decimal(row, 3),
                "close_pct": decimal(row, 4),
            },
            final=is_closed(opened, HOUR, request),
        )

    yield from each(rows, build)
    if result.get("continuation") is not None:
        page = {"continuation": result["continuation"]}
        yield from each([page], lambda page: _complete(page, request))


def parse_trades(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Trades: `{"result": {"trades": […], "has_more"}}`; amounts of inverse perpetuals come in dollars."""
    result = _result(body, request)
    if not isinstance(result, Mapping):
        raise violation(request, f"result is {type(result).__name__}, not an object")

    def build(row: Any) -> Record:
        symbol = symbol_of_row(request, text(row, "instrument_name"), ("perpetual",))
        price = decimal(row, "price")
        return Record(
            symbol,
            epoch_ms(row, "timestamp"),
            {
                "trade_id": text(row, "trade_id"),
                "trade_kind": "trade",
                "price": price,
                **sizes(SLUG, symbol, decimal(row, "amount"), price, contract_size=_ONE_DOLLAR),
                "side": text(row, "direction"),
                "sequence": whole(row, "trade_seq"),
                "is_liquidation": row.get("liquidation") is not None,
            },
        )

    return each(rows_of(result.get("trades"), request, "trades"), build)


def _trades_after(instrument: Instrument, span: Span, page: Page | None) -> Request | None:
    number = span.first
    if page is not None:
        last = highest(page, by_sequence)
        if last is None or (span.last is not None and last >= span.last) or page.records[-1].event_at >= span.end:
            return None
        number = last + 1
    params: dict[str, str | int] = {"instrument_name": instrument.venue_symbol, "count": TRADES_PAGE, "sorting": "asc"}
    endpoint = "publicGetGetLastTradesByInstrument"
    if number is None:
        endpoint = "publicGetGetLastTradesByInstrumentAndTime"
        params |= {"start_timestamp": milliseconds(span.start), "end_timestamp": milliseconds(span.end)}
    else:
        params["start_seq"] = number
        if span.last is not None:
            params["end_seq"] = span.last
    return _request(
        "trades",
        endpoint,
        params,
        Window(span.start, span.end),
        symbol=instrument.symbol,
        venue_symbol=instrument.venue_symbol,
        market=instrument.market,
    )


TRADE_HISTORY = {"perpetual": TradeHistory(_trades_after, parse_trades, seconds=0.2, number=by_sequence)}


def parse_instruments(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """The list of instruments; combinations and options on linear underlyings are left out."""
    content = _content(body, request)

    def build(row: Any) -> Record | None:
        kind = _kind(row)
        base = text(row, "base_currency")
        if kind is None or (kind is InstrumentKind.OPTION and "_" in text(row, "instrument_name").partition("-")[0]):
            return None
        expires = epoch_ms(row, "expiration_timestamp") if _expires(kind) else None
        strike = decimal(row, "strike") if kind is InstrumentKind.OPTION else None
        if strike is not None and not 0 < strike < Decimal(10) ** 12:
            raise FieldError("strike", f"{str(strike)[:40]} is not a strike")
        symbol = canonical_symbol(
            base,
            text(row, "quote_currency"),
            kind,
            expires_at=expires,
            strike=strike,
            option_type=text(row, "option_type") if kind is InstrumentKind.OPTION else None,
        )
        return Record(
            symbol,
            _answered(content, request),
            {
                "venue_symbol": text(row, "instrument_name"),
                "kind": kind.value,
                "base": base,
                "quote": text(row, "quote_currency"),
                "settle": row.get("settlement_currency"),
                "contract_size": optional_decimal(row, "contract_size"),
                "tick_size": optional_decimal(row, "tick_size"),
                "expires_at": expires,
            },
        )

    def checked(row: Any) -> Record | None:
        try:
            return build(row)
        except UserError as error:
            raise FieldError("instrument_name", str(error)) from None

    return each(rows_of(content.get("result"), request, "result"), checked)


def _complete(page: Any, request: Request) -> None:
    earlier = epoch_ms(page, "continuation")
    if request.start is not None and earlier >= request.start:
        raise FieldError("continuation", f"the page is cut short: there is more before {earlier.isoformat()}")


def _option(name: str) -> tuple[str, datetime, Decimal, str]:
    found = _OPTION.fullmatch(name)
    if not found or found[3] not in _MONTHS:
        raise FieldError("instrument_name", f"{name[:40]!r} is not <base>-<day><month><year>-<strike>-<C or P>")
    base, day, month, year, strike, side = found.groups()
    try:
        expires_at = datetime(2000 + int(year), _MONTHS.index(month) + 1, int(day), EXPIRY_HOUR, tzinfo=UTC)
    except ValueError:
        raise FieldError("instrument_name", f"{name[:40]!r} expires on a day that does not exist") from None
    return base, expires_at, Decimal(strike), "call" if side == "C" else "put"


def _kind(row: Any) -> InstrumentKind | None:
    kind = text(row, "kind")
    if kind == "future" and item(row, "settlement_period") == "perpetual":
        return InstrumentKind.PERPETUAL
    return {
        "future": InstrumentKind.FUTURE,
        "option": InstrumentKind.OPTION,
        "spot": InstrumentKind.SPOT,
    }.get(kind)


def _expires(kind: InstrumentKind) -> bool:
    # A perpetual carries an expiry in the year 3000, a spot pair one without meaning.
    return kind in (InstrumentKind.FUTURE, InstrumentKind.OPTION)


def _answered(content: Mapping[str, Any], request: Request) -> datetime:
    if request.received_at is not None and "usOut" not in content:
        return request.received_at
    return from_milliseconds(whole(content, "usOut") // 1000)


def _content(body: bytes, request: Request) -> Mapping[str, Any]:
    content = read_json(body, request)
    if not isinstance(content, Mapping):
        raise violation(request, f"body is {type(content).__name__}, not an object")
    if content.get("error"):
        raise violation(request, f"Deribit says {str(content['error'])[:200]}")
    return content


def _result(body: bytes, request: Request) -> Any:
    return _content(body, request).get("result")


def _rows(body: bytes, request: Request) -> list[Any]:
    return rows_of(_result(body, request), request, "result")


def _request(
    dataset: str,
    endpoint: str,
    params: Mapping[str, str | int],
    window: Window,
    *,
    symbol: str,
    venue_symbol: str,
    market: str,
    timeframe: str = "",
) -> Request:
    return Request(
        source=SLUG,
        dataset=dataset,
        client="deribit",
        endpoint=endpoint,
        params=params,
        start=window.start,
        end=window.end,
        symbol=symbol,
        venue_symbol=venue_symbol,
        market=market,
        timeframe=timeframe,
    )


def _paged(
    dataset: str, endpoint: str, step: timedelta, limit: int, timeframe: str, extra: Mapping[str, str | int]
) -> RequestBuilder:
    def build(instrument: Instrument | None, window: Window) -> Iterable[Request]:
        instrument = given(SLUG, instrument)
        for page in pages(window, step, limit):
            yield _request(
                dataset,
                endpoint,
                {
                    "instrument_name": instrument.venue_symbol,
                    # Deribit sometimes leaves out a row exactly at the start; `parse` drops what is before it.
                    "start_timestamp": milliseconds(page.start) - 1,
                    "end_timestamp": milliseconds(page.end - MILLISECOND),
                    **extra,
                },
                page,
                symbol=instrument.symbol,
                venue_symbol=instrument.venue_symbol,
                market=instrument.market,
                timeframe=timeframe,
            )

    return build


funding_requests: Callable[[Instrument | None, Window], Iterable[Request]] = _paged(
    "funding_rates", "publicGetGetFundingRateHistory", HOUR, FUNDING_PAGE, "", {}
)

_PERPETUAL = (InstrumentKind.PERPETUAL,)
_CADENCES = {
    "1m": Cadence.QUARTER_HOURLY,
    "15m": Cadence.QUARTER_HOURLY,
    "1h": Cadence.HOURLY,
    "1d": Cadence.DAILY,
}
_BARS = tuple(
    Feed(
        dataset="ohlcv",
        cadence=cadence,
        timeframe=timeframe,
        requests=ohlcv_requests(timeframe),
        parse=parse_ohlcv,
        kinds=_PERPETUAL,
        freshness=duration(timeframe) + 2 * cadence.period,
    )
    for timeframe, cadence in _CADENCES.items()
)

SPEC = SourceSpec(
    slug=SLUG,
    title="Deribit",
    domain=Domain.EXCHANGES,
    docs_url="https://docs.deribit.com/",
    licence="Deribit market data terms: internal use; no redistribution of raw data.",
    feeds=(
        *_BARS,
        Feed(
            dataset="funding_rates",
            cadence=Cadence.HOURLY,
            variant="settled",
            requests=funding_requests,
            parse=parse_funding,
            kinds=_PERPETUAL,
            freshness=timedelta(hours=3),
        ),
        Feed(
            dataset="open_interest",
            cadence=Cadence.QUARTER_HOURLY,
            requests=open_interest_requests,
            parse=parse_open_interest,
            mode=Mode.NOW,
            kinds=_PERPETUAL,
            freshness=timedelta(minutes=30),
        ),
        Feed(
            dataset="option_quotes",
            cadence=Cadence.HOURLY,
            requests=option_requests,
            parse=parse_option_quotes,
            mode=Mode.NOW,
            freshness=timedelta(hours=2),
        ),
        Feed(
            dataset="volatility_indices",
            cadence=Cadence.HOURLY,
            requests=index_requests,
            parse=parse_volatility_index,
            freshness=timedelta(hours=3),
        ),
    ),
    parsers={"instruments": parse_instruments, "trades": parse_trades},
    requests_per_second=10,
    hosts=("www.deribit.com",),
)
