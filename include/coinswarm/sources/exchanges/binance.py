"""Binance: spot, USD-M and COIN-M perpetuals.

Traps: the last bar of a page may be open; COIN-M counts volume and open interest in contracts (of 100 USD for BTC), its
`quote` fields are in coin; funding history states no interval and stamps up to 10 ms late; ratios and open interest
reach back 30 days only.
"""

from __future__ import annotations

import calendar
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from coinswarm.datasets import Domain
from coinswarm.datasets.records import FieldError, Record, Rejected
from coinswarm.errors import UserError
from coinswarm.registry import INSTRUMENTS, Instrument, InstrumentKind, canonical_symbol
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
from coinswarm.sources.exchanges._symbols import (
    GLOBAL,
    asked_market,
    asked_symbol,
    in_window,
    listed_symbol,
    symbol_of_row,
)
from coinswarm.sources.exchanges._trades import Page, Span, TradeHistory, by_trade_id, highest, sizes
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
from coinswarm.timeframes import Window, duration, milliseconds

SLUG = "binance"
DERIVATIVES = ("usdm", "coinm")
_PREFIX = {"spot": "public", "usdm": "fapiPublic", "coinm": "dapiPublic"}
_DATA_PREFIX = {"usdm": "fapiData", "coinm": "dapiData"}
_BARS_LIMIT = 1000
# COIN-M refuses bars over more than 200 days in one request.
_COINM_LONGEST = timedelta(days=200)
_FUNDING_LIMIT = 1000
_TRADES_LIMIT = 1000
_STATISTICS_LIMIT = 500
_STATISTICS_PERIOD = "15m"
_STATISTICS_HISTORY = timedelta(days=30)
_RATIO_KINDS = {
    "GlobalLongShortAccountRatio": "global_accounts",
    "TopLongShortAccountRatio": "top_accounts",
    "TopLongShortPositionRatio": "top_positions",
    "TakerlongshortRatio": "taker_volume",
    "TakerBuySellVol": "taker_volume",
}


def _request(instrument: Instrument | None, dataset: str, endpoint: str, window: Window, **fields: Any) -> Request:
    if instrument is None:
        raise UserError(f"{SLUG}/{dataset} is asked per instrument")
    return Request(
        source=SLUG,
        dataset=dataset,
        endpoint=endpoint,
        client="binance",
        symbol=instrument.symbol,
        venue_symbol=instrument.venue_symbol,
        market=instrument.market,
        start=window.start,
        end=window.end,
        **fields,
    )


def _between(window: Window) -> dict[str, int]:
    return {"startTime": milliseconds(window.start), "endTime": milliseconds(window.end) - 1}


def _market_of(instrument: Instrument | None) -> tuple[Instrument, str]:
    if instrument is None:
        raise UserError(f"{SLUG} is asked per instrument")
    return instrument, instrument.market


# ---- bars


def _bar_requests(timeframe: str) -> RequestBuilder:
    def build(instrument: Instrument | None, window: Window) -> Iterator[Request]:
        one, market = _market_of(instrument)
        limit = _BARS_LIMIT
        if market == "coinm":
            limit = min(limit, _COINM_LONGEST // duration(timeframe))
        for page in bar_pages(window, timeframe, limit):
            params: dict[str, str | int] = {"symbol": one.venue_symbol, "interval": timeframe, "limit": limit}
            yield _request(
                one,
                "ohlcv",
                f"{_PREFIX[market]}GetKlines",
                page,
                timeframe=timeframe,
                params={**params, **_between(page)},
            )

    return build


def parse_ohlcv(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Klines: `[open time, o, h, l, c, volume, close time, quote volume, trades, taker base, taker quote, ignore]`."""
    rows = _rows(body, request)
    symbol, length, market = asked_symbol(request), bar_length(request), asked_market(request)
    size = contract_size(request) if market == "coinm" else None

    def build(row: Any) -> Record | None:
        opened = check_grid(epoch_ms(row, 0), length, "open_time")
        if epoch_ms(row, 6) + timedelta(milliseconds=1) - opened != length:
            raise FieldError("close_time", f"the bar is not {request.timeframe} long")
        if not in_window(request, opened):
            return None
        first, second = (5, 7) if market != "coinm" else (7, 5)
        taker_first, taker_second = (9, 10) if market != "coinm" else (10, 9)
        return Record(
            symbol,
            opened,
            {
                "timeframe": request.timeframe,
                "open": decimal(row, 1),
                "high": decimal(row, 2),
                "low": decimal(row, 3),
                "close": decimal(row, 4),
                "volume_base": decimal(row, first),
                "volume_quote": _sized(decimal(row, second), size),
                "trade_count": whole(row, 8),
                "taker_buy_base": decimal(row, taker_first),
                "taker_buy_quote": _sized(decimal(row, taker_second), size),
            },
            final=is_closed(opened, length, request),
        )

    return each(rows, build)


def _sized(amount: Decimal, contract: Decimal | None) -> Decimal:
    return amount if contract is None else amount * contract


def contract_size(request: Request) -> Decimal:
    """US dollars per COIN-M contract, by the pair of the request's instrument (all expiries share it).

    Raises:
        ContractViolation: the registry has no contract of that pair.
    """
    pair = request.venue_symbol.split("_")[0] or INSTRUMENTS.get(SLUG, asked_symbol(request)).venue_symbol.split("_")[0]
    for instrument in INSTRUMENTS.of(SLUG):
        if instrument.market == "coinm" and instrument.venue_symbol.split("_")[0] == pair:
            return instrument.contract_size
    raise violation(request, f"the contract size of {pair[:40]!r} is not in the registry")


# ---- funding


def _settled_requests(instrument: Instrument | None, window: Window) -> Iterator[Request]:
    one, market = _market_of(instrument)
    for page in pages(window, HOUR, _FUNDING_LIMIT - LEAD_IN_ROWS):
        asked = _between(Window(page.start - LEAD_IN, page.end))
        yield _request(
            one,
            "funding_rates",
            f"{_PREFIX[market]}GetFundingRate",
            page,
            params={"symbol": one.venue_symbol, "limit": _FUNDING_LIMIT, **asked},
        )


def _predicted_requests(instrument: Instrument | None, window: Window) -> Iterator[Request]:
    one, market = _market_of(instrument)
    endpoint = f"{_PREFIX[market]}GetPremiumIndex"
    yield _request(one, "funding_rates", endpoint, window, params={"symbol": one.venue_symbol})


def parse_funding_rates(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Settled rates (`fundingRate` rows) and the running estimate (`premiumIndex`: rows with `lastFundingRate`)."""
    rows = _rows(body, request, single="lastFundingRate")
    hours = intervals(settlements(rows, "fundingTime"))

    def build(row: Any) -> Record | None:
        if "lastFundingRate" in row:
            return _predicted(row, request)
        symbol = symbol_of_row(request, text(row, "symbol"), DERIVATIVES)
        exact = epoch_ms(row, "fundingTime")
        settled = settlement_hour(exact, "fundingTime")
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
                "mark_price": optional_decimal(row, "markPrice"),
            },
        )

    return each(rows, build)


def _predicted(row: Any, request: Request) -> Record | None:
    if row["lastFundingRate"] == "":
        return None  # a dated future pays none
    symbol = symbol_of_row(request, text(row, "symbol"), DERIVATIVES)
    following = settlement_hour(epoch_ms(row, "nextFundingTime"), "nextFundingTime")
    rate = decimal(row, "lastFundingRate")
    values = {"kind": "predicted", "rate": rate, "interval_hours": interval_by_grid(following)}
    return Record(symbol, following, values)


# ---- open interest and ratios


def _statistics_requests(dataset: str, names: tuple[str, ...]) -> RequestBuilder:
    def build(instrument: Instrument | None, window: Window) -> Iterator[Request]:
        one, market = _market_of(instrument)
        for page in pages(window, timedelta(minutes=15), _STATISTICS_LIMIT):
            for name in names:
                yield _request(
                    one,
                    dataset,
                    _DATA_PREFIX[market] + "Get" + _statistics_name(name, market),
                    page,
                    params={**_statistics_subject(one, name), **_between(page)},
                )

    return build


def _statistics_name(name: str, market: str) -> str:
    if name != "taker":
        return name
    return "TakerlongshortRatio" if market == "usdm" else "TakerBuySellVol"


def _statistics_subject(instrument: Instrument, name: str) -> dict[str, str | int]:
    params: dict[str, str | int] = {"period": _STATISTICS_PERIOD, "limit": _STATISTICS_LIMIT}
    if instrument.market == "usdm":
        return {"symbol": instrument.venue_symbol, **params}
    params["pair"] = instrument.venue_symbol.split("_")[0]
    if name in ("OpenInterestHist", "taker"):
        params["contractType"] = "PERPETUAL"
    return params


def _statistics_symbol(row: Any, request: Request) -> str:
    if not isinstance(row, dict):
        raise FieldError("row", f"{type(row).__name__} instead of an object")
    if "symbol" in row:
        return symbol_of_row(request, text(row, "symbol"), DERIVATIVES)
    if "pair" not in row:
        return asked_symbol(request)
    pair, contract = text(row, "pair"), row.get("contractType", "")
    if request.venue_symbol:
        asked_pair, _, expiry = request.venue_symbol.partition("_")
        if pair != asked_pair or (contract and (contract == "PERPETUAL") != (expiry == "PERP")):
            raise FieldError("pair", f"row is about {pair[:40]!r} {str(contract)[:40]!r}, asked was another contract")
        return asked_symbol(request)
    if contract not in ("", "PERPETUAL"):
        if request.symbol in ("", GLOBAL):
            return _quarterly(pair, str(contract), epoch_ms(row, "timestamp"))
        if request.symbol.endswith("-PERP"):
            raise FieldError("contractType", f"row is about {str(contract)[:40]!r}, asked was a perpetual")
        return request.symbol
    return symbol_of_row(request, f"{pair}_PERP", ("coinm",))


def _quarterly(pair: str, contract: str, at: datetime) -> str:
    # Quarterly contracts expire on the last Friday of March, June, September and December, 08:00 UTC.
    if contract not in ("CURRENT_QUARTER", "NEXT_QUARTER") or not pair.endswith("USD"):
        raise FieldError("contractType", f"{contract[:40]!r} of {pair[:40]!r} does not tell the expiry")
    coming = [
        expiry
        for year in (at.year, at.year + 1)
        for month in (3, 6, 9, 12)
        if (expiry := _last_friday(year, month)) > at
    ]
    expiry = coming[0 if contract == "CURRENT_QUARTER" else 1]
    return canonical_symbol(pair.removesuffix("USD"), "USD", InstrumentKind.FUTURE, expires_at=expiry)


def _last_friday(year: int, month: int) -> datetime:
    last = datetime(year, month, calendar.monthrange(year, month)[1], 8, tzinfo=UTC)
    return last - timedelta(days=(last.weekday() - calendar.FRIDAY) % 7)


def parse_open_interest(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """`openInterestHist`: base and dollars (USD-M), contracts and coin (COIN-M). Binance counts one side."""
    rows = _rows(body, request)

    def build(row: Any) -> Record | None:
        symbol = _statistics_symbol(row, request)
        moment = epoch_ms(row, "timestamp")
        if not in_window(request, moment):
            return None
        amount, value = decimal(row, "sumOpenInterest"), decimal(row, "sumOpenInterestValue")
        if request.market == "coinm" or "pair" in row:
            pair = text(row, "pair")
            size = contract_size(request if request.venue_symbol else replace(request, venue_symbol=f"{pair}_PERP"))
            base, dollars = value, amount * size
        else:
            base, dollars = amount, value
        return Record(
            symbol,
            moment,
            {"open_interest_base": base, "open_interest_usd": dollars, "open_interest_native": amount},
        )

    return each(rows, build)


def parse_long_short_ratios(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Account, position and taker ratios; a loose body without its endpoint is read as that of all accounts."""
    rows = _rows(body, request)
    period = period_of(rows, request, lambda row: epoch_ms(row, "timestamp"))
    asked_kind = _asked_ratio(request)

    def build(row: Any) -> Record | None:
        symbol = _statistics_symbol(row, request)
        moment = epoch_ms(row, "timestamp")
        if not in_window(request, moment):
            return None
        return Record(symbol, moment, {"period": period, **_ratio(row, asked_kind)})

    return each(rows, build)


def _asked_ratio(request: Request) -> str:
    # By ccxt's method, or by the path of a recorded address.
    endpoint = request.endpoint.lower()
    named = (kind for name, kind in _RATIO_KINDS.items() if endpoint.endswith(name.lower()))
    return next(named, "" if endpoint else "global_accounts")


def _ratio(row: Any, asked_kind: str) -> dict[str, Any]:
    if "buySellRatio" in row:
        kind, ratio = "taker_volume", decimal(row, "buySellRatio")
        long, short = decimal(row, "buyVol"), decimal(row, "sellVol")
    elif "takerBuyVolValue" in row:
        kind = "taker_volume"
        long, short = decimal(row, "takerBuyVolValue"), decimal(row, "takerSellVolValue")
        ratio = long / short
    else:
        kind, ratio = asked_kind, decimal(row, "longShortRatio")
        what = "Position" if "longPosition" in row else "Account"
        long, short = decimal(row, f"long{what}"), decimal(row, f"short{what}")
    if asked_kind and asked_kind != kind and asked_kind != "global_accounts":
        raise FieldError("ratio_kind", f"row is a {kind}, asked was {asked_kind}")
    return {"ratio_kind": kind, "ratio": ratio, "long_share": long, "short_share": short}


# ---- payloads without a feed


def parse_trades(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """Aggregate trades (`a`), or single ones (`id`). If the buyer was the maker, the taker sold."""
    rows = _rows(body, request)
    symbol = asked_symbol(request)

    def build(row: Any) -> Record:
        single = isinstance(row, dict) and "id" in row
        names = ("id", "price", "qty", "time", "isBuyerMaker") if single else ("a", "p", "q", "T", "m")
        number, price_name, size, time, maker = names
        maker_bought = item(row, maker)
        if not isinstance(maker_bought, bool):
            raise FieldError(maker, "not true or false")
        price = decimal(row, price_name)
        return Record(
            symbol,
            epoch_ms(row, time),
            {
                "trade_id": str(whole(row, number)),
                "trade_kind": "trade" if single else "aggregate",
                "price": price,
                **sizes(SLUG, symbol, decimal(row, size), price),
                "side": "sell" if maker_bought else "buy",
            },
        )

    return each(rows, build)


def _trades_after(instrument: Instrument, span: Span, page: Page | None) -> Request | None:
    # The live feed of spot gives single trades, that of futures aggregates: both are asked as they are given there.
    spot = instrument.market == "spot"
    number = span.first
    if page is not None:
        last = highest(page, by_trade_id)
        if last is None or (span.last is not None and last >= span.last) or page.records[-1].event_at >= span.end:
            return None
        number = last + 1
    if number is None and spot:
        return None  # single trades are found by their numbers only
    at = {"fromId": number} if number is not None else {"startTime": milliseconds(span.start)}
    params: dict[str, str | int] = {"symbol": instrument.venue_symbol, "limit": _TRADES_LIMIT, **at}
    # ccxt asks for a key here; the venue does not.
    endpoint = (
        "https://api.binance.com/api/v3/historicalTrades" if spot else _PREFIX[instrument.market] + "GetAggTrades"
    )
    asked = _request(instrument, "trades", endpoint, Window(span.start, span.end), params=params)
    return replace(asked, client="") if spot else asked


TRADE_HISTORY = {
    # Of 6,000 (spot) and 2,400 weight a minute and address; a page weighs 25 and 20.
    "spot": TradeHistory(_trades_after, parse_trades, seconds=0.5, number=by_trade_id, from_start=True),
    "usdm": TradeHistory(_trades_after, parse_trades, seconds=1.0, number=by_trade_id, from_start=True),
    "coinm": TradeHistory(_trades_after, parse_trades, seconds=1.0, number=by_trade_id, from_start=True),
}


def parse_order_books(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """A `depth` snapshot; spot states no time, so there the time of reception is the event's."""
    book = read_json(body, request)
    _check_envelope(book, request)
    symbol = asked_symbol(request)

    def build(row: Any) -> Record:
        if "T" in row or "E" in row:
            moment = epoch_ms(row, "T" if "T" in row else "E")
        elif request.received_at is not None:
            moment = request.received_at
        else:
            raise FieldError("event_at", "a spot snapshot has no time, and when it was received is unknown")
        return Record(
            symbol,
            moment,
            {
                "bids": levels(item(row, "bids"), "bids", best_is_highest=True),
                "asks": levels(item(row, "asks"), "asks", best_is_highest=False),
                "last_update_id": whole(row, "lastUpdateId"),
            },
        )

    return each([book], build)


def parse_tickers(body: bytes, request: Request) -> Iterator[Record | Rejected]:
    """24 h statistics of one or all symbols."""
    rows = _rows(body, request, single="lastPrice")

    def build(row: Any) -> Record:
        symbol = listed_symbol(request, text(row, "symbol"), tuple(_PREFIX))
        coinm = "baseVolume" in row
        return Record(
            symbol,
            epoch_ms(row, "closeTime"),
            {
                "last": decimal(row, "lastPrice"),
                "bid": _positive(row, "bidPrice"),
                "bid_size": optional_decimal(row, "bidQty"),
                "ask": _positive(row, "askPrice"),
                "ask_size": optional_decimal(row, "askQty"),
                "open": _positive(row, "openPrice"),
                "high": _positive(row, "highPrice"),
                "low": _positive(row, "lowPrice"),
                "volume_base": decimal(row, "baseVolume" if coinm else "volume"),
                "volume_quote": None if coinm else decimal(row, "quoteVolume"),
            },
        )

    return each(rows, build)


def _positive(row: Any, key: str) -> Decimal | None:
    # Binance writes 0 for "no order" and "no trade yet".
    value = optional_decimal(row, key)
    return None if value is not None and value.is_zero() else value


# ---- bodies


def _rows(body: bytes, request: Request, single: str = "") -> list[Any]:
    value = read_json(body, request)
    _check_envelope(value, request)
    if single and isinstance(value, dict) and single in value:
        return [value]
    return rows_of(value, request)


def _check_envelope(value: Any, request: Request) -> None:
    if isinstance(value, dict) and "code" in value and "msg" in value:
        raise violation(request, f"Binance refused: {str(value['code'])[:20]} {str(value['msg'])[:200]}")


SPEC = SourceSpec(
    slug=SLUG,
    title="Binance",
    domain=Domain.EXCHANGES,
    docs_url="https://developers.binance.com/docs",
    licence="Market data under Binance's terms of use; no redistribution.",
    feeds=(
        *bar_feeds(_bar_requests, parse_ohlcv),
        *funding_feeds(_settled_requests, _predicted_requests, parse_funding_rates),
        Feed(
            "open_interest",
            Cadence.QUARTER_HOURLY,
            _statistics_requests("open_interest", ("OpenInterestHist",)),
            parse_open_interest,
            kinds=(InstrumentKind.PERPETUAL,),
            history=_STATISTICS_HISTORY,
        ),
        Feed(
            "long_short_ratios",
            Cadence.QUARTER_HOURLY,
            _statistics_requests(
                "long_short_ratios",
                ("GlobalLongShortAccountRatio", "TopLongShortAccountRatio", "TopLongShortPositionRatio", "taker"),
            ),
            parse_long_short_ratios,
            kinds=(InstrumentKind.PERPETUAL,),
            history=_STATISTICS_HISTORY,
        ),
    ),
    parsers={"trades": parse_trades, "order_books": parse_order_books, "tickers": parse_tickers},
    # USD-M and COIN-M share 2,400 weight a minute and address; a page of 1,000 bars weighs 5. ccxt waits by weight.
    requests_per_second=8,
    market_paths={"/fapi/": "usdm", "/dapi/": "coinm", "/api/v": "spot"},
    hosts=("api.binance.com", "fapi.binance.com", "dapi.binance.com", "data-api.binance.vision"),
)
