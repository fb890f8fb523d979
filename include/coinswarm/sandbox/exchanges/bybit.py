"""Bybit v5: newest first, open interest that counts both sides, and refusals with HTTP 200."""

from __future__ import annotations

from typing import Any

from coinswarm.sandbox.exchanges._parameters import FOREVER, integer, limit_of
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Bar, Listing
from coinswarm.sandbox.market.numbers import padded, rate
from coinswarm.sandbox.protocol import Call, Handler, Refusal, Reply, Route, World, json_reply

HOST = "api.bybit.com"
_INTERVALS = {
    **{str(n): n * MINUTE for n in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    "D": DAY,
    "W": 7 * DAY,
}
_REPLAY_INTERVALS = {"480": 8 * HOUR}
_PERIODS = {"5min": 5 * MINUTE, "15min": 15 * MINUTE, "30min": 30 * MINUTE, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY}
_CATEGORIES = ("spot", "linear", "inverse")


def ok(result: dict[str, Any], world: World) -> Reply:
    """A result in the usual envelope."""
    return json_reply({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": world.now()})


def _refusal(message: str, world: World) -> Refusal:
    envelope = {"retCode": 10001, "retMsg": message, "result": {}, "retExtInfo": {}, "time": world.now()}
    return Refusal(json_reply(envelope))


def _integer(call: Call, name: str, world: World) -> int | None:
    return integer(call.query, name, lambda what: _refusal(f"params error: {what} is invalid", world).reply)


def limit_asked(call: Call, default: int, largest: int, world: World) -> int:
    """The page size that a call asks for.

    Raises:
        Refusal: it is zero or not a number.
    """
    return limit_of(
        call.query, default, largest, lambda what: _refusal(f"params error: {what} is invalid", world).reply
    )


def category_of(call: Call, world: World, allowed: tuple[str, ...] = _CATEGORIES, default: str = "") -> str:
    """The category that a call asks for.

    Raises:
        Refusal: there is none of that name here.
    """
    category = call.query.get("category", default)
    if category not in allowed:
        raise _refusal("params error: Category is invalid", world)
    return category


def find_listing(call: Call, world: World, category: str) -> Listing:
    """The symbol that a call asks for.

    Raises:
        Refusal: it is not listed.
    """
    found = world.market.find("bybit", category, call.query.get("symbol", ""))
    if found is None:
        raise _refusal("params error: Symbol Is Invalid", world)
    return found


# ---- bars


def _kline(call: Call, world: World) -> Reply:
    category = category_of(call, world, default="linear")
    listing = find_listing(call, world, category)
    name = call.query.get("interval", "")
    step = _INTERVALS.get(name) or (_REPLAY_INTERVALS.get(name) if world.mode == "replay" else None)
    if step is None:
        raise _refusal("Invalid period!", world)
    limit = limit_asked(call, 200, 1000, world)
    start, end = _integer(call, "start", world), _integer(call, "end", world)
    now = world.now()
    last = min(end if end is not None else now, now)
    if start is not None and end is None:
        first = max(start, listing.since)
        bars = world.market.bars(listing, step, first, min(last + 1, first + limit * step))
    else:
        first = start or 0
        if world.mode != "replay":
            first = max(first, last - limit * step)
        bars = world.market.bars(listing, step, first, last + 1)[-limit:]
    rows = [_row(listing, bar) for bar in reversed(bars)]
    return ok({"category": category, "symbol": listing.symbol, "list": rows}, world)


def _row(listing: Listing, bar: Bar) -> list[str]:
    # Inverse contracts count volume in dollars and turnover in coin.
    volumes = [bar.contracts, bar.base] if listing.inverse else [bar.base, bar.quote]
    return [str(bar.open_ms), bar.open, bar.high, bar.low, bar.close, *volumes]


# ---- funding


def _funding_history(call: Call, world: World) -> Reply:
    category = category_of(call, world, ("linear", "inverse"))
    listing = find_listing(call, world, category)
    limit = limit_asked(call, 200, 200, world)
    start, end = _integer(call, "startTime", world), _integer(call, "endTime", world)
    if start is not None and end is None:
        raise _refusal("params error: endTime is required if startTime is passed", world)
    if start is not None and end is not None and start > end:
        raise _refusal("params error: startTime is later than endTime", world)
    now = world.now()
    last = min(end if end is not None else now, now)
    first = start or 0
    if world.mode != "replay":
        first = max(first, last - limit * listing.funding_hours * HOUR)
    events = world.market.funding(listing, first, last + 1)[-limit:]
    rows = [
        {"symbol": listing.symbol, "fundingRate": _trimmed(event.rate), "fundingRateTimestamp": str(event.at_ms)}
        for event in reversed(events)
    ]
    return ok({"category": category, "list": rows}, world)


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


# ---- open interest and ratios


def _both_sides(listing: Listing, base: str, contracts: str) -> tuple[str, str]:
    """Open interest as Bybit writes it (both sides), and its single side."""
    single = contracts if listing.inverse else base
    return rate(2 * float(single), 3 if not listing.inverse else 0), single


def _page(call: Call, world: World, rows: list[Any], limit: int, time_of: str) -> tuple[list[Any], str]:
    """Newest first; the cursor names the oldest time of this page, and the next page is older."""
    page = rows[-limit:][::-1]
    more = len(rows) > limit and page
    return page, f"lastid%3D{page[-1][time_of]}" if more else ""


def _window(call: Call, world: World, step: int, limit: int) -> tuple[int, int]:
    start, end = _integer(call, "startTime", world), _integer(call, "endTime", world)
    now = world.now()
    last = min(end if end is not None else now, now)
    cursor = call.query.get("cursor", "").replace("%3D", "=").removeprefix("lastid=")
    if cursor:
        if not (cursor.isascii() and cursor.isdigit() and int(cursor) < FOREVER):
            raise _refusal("params error: cursor is invalid", world)
        last = min(last, int(cursor) - 1)
    # One row more than the page tells whether there are older ones.
    return max(start or 0, last - (limit + 1) * step), last + 1


def _open_interest(call: Call, world: World) -> Reply:
    category = category_of(call, world, ("linear", "inverse"))
    listing = find_listing(call, world, category)
    step = _PERIODS.get(call.query.get("intervalTime", ""))
    if step is None:
        raise _refusal("params error: intervalTime is invalid", world)
    limit = limit_asked(call, 50, 200, world)
    rows = []
    for held in world.market.interest(listing, step, *_window(call, world, step, limit)):
        both, single = _both_sides(listing, held.base, held.contracts)
        rows.append({"openInterest": both, "singleOpenInterest": single, "timestamp": str(held.at_ms)})
    page, cursor = _page(call, world, rows, limit, "timestamp")
    result = {"symbol": listing.symbol, "category": category, "list": page, "nextPageCursor": cursor}
    return ok(result, world)


def _account_ratio(call: Call, world: World) -> Reply:
    category = category_of(call, world, ("linear", "inverse"))
    listing = find_listing(call, world, category)
    step = _PERIODS.get(call.query.get("period", ""))
    if step is None:
        raise _refusal("params error: period is invalid", world)
    limit = limit_asked(call, 50, 500, world)
    start, end = _window(call, world, step, limit)
    rows = [
        {"symbol": listing.symbol, "buyRatio": r.long, "sellRatio": r.short, "timestamp": str(r.at_ms)}
        for r in world.market.ratios(listing, "global_accounts", step, start, end)
    ]
    page, cursor = _page(call, world, rows, limit, "timestamp")
    return ok({"list": page, "nextPageCursor": cursor}, world)


# ---- tickers and metadata


def _tickers(call: Call, world: World) -> Reply:
    category = category_of(call, world)
    if call.query.get("symbol"):
        chosen = [find_listing(call, world, category)]
    else:
        chosen = [x for x in world.market.listings("bybit") if x.market == category]
    return ok({"category": category, "list": [ticker_row(listing, world) for listing in chosen]}, world)


def ticker_row(listing: Listing, world: World) -> dict[str, str]:
    """A ticker as REST says it; the stream says most of it in the same words."""
    quote = world.market.quote(listing)
    day = world.market.bars(listing, HOUR, quote.at_ms - 24 * HOUR, quote.at_ms)
    base, turnover = sum(float(bar.base) for bar in day), sum(float(bar.quote) for bar in day)
    row = {
        "symbol": listing.symbol,
        "bid1Price": quote.bid,
        "bid1Size": "1",
        "ask1Price": quote.ask,
        "ask1Size": "1",
        "lastPrice": quote.last,
        "prevPrice24h": day[0].open,
        "price24hPcnt": rate(float(quote.last) / float(day[0].open) - 1, 4),
        "highPrice24h": max((bar.high for bar in day), key=float),
        "lowPrice24h": min((bar.low for bar in day), key=float),
        "turnover24h": rate(base if listing.inverse else turnover),
        "volume24h": rate(turnover if listing.inverse else base),
    }
    if not listing.perpetual:
        return row | {"usdIndexPrice": world.market.index_price(listing.base, "USD")}
    held = world.market.interest(listing, 1, quote.at_ms, quote.at_ms + 1)[-1]
    both, single = _both_sides(listing, held.base, held.contracts)
    return row | {
        "indexPrice": quote.index_price,
        "markPrice": quote.mark,
        "prevPrice1h": day[-1].open,
        "openInterest": both,
        "openInterestValue": rate(2 * float(held.base if listing.inverse else held.usd), 4),
        "singleOpenInterest": single,
        "fundingRate": _trimmed(quote.funding),
        "fundingIntervalHour": str(listing.funding_hours),
        "fundingCap": "0.005",
        "nextFundingTime": str(quote.next_funding_ms),
        "predictedDeliveryPrice": "",
        "basisRate": "",
        "deliveryFeeRate": "",
        "deliveryTime": "0",
        "basis": "",
        "preOpenPrice": "",
        "preQty": "",
        "curPreListingPhase": "",
    }


def _instruments_info(call: Call, world: World) -> Reply:
    category = category_of(call, world, (*_CATEGORIES, "option"))
    chosen = [x for x in world.market.listings("bybit") if x.market == category]
    if call.query.get("symbol"):
        chosen = [find_listing(call, world, category)]
    rows = [_instrument(listing) for listing in chosen]
    return ok({"category": category, "list": rows, "nextPageCursor": ""}, world)


def _instrument(listing: Listing) -> dict[str, Any]:
    row: dict[str, Any] = {
        "symbol": listing.symbol,
        "baseCoin": listing.base,
        "quoteCoin": listing.quote,
        "status": "Trading",
        "priceFilter": {"minPrice": listing.tick, "maxPrice": "1999999.8", "tickSize": listing.tick},
    }
    if not listing.perpetual:
        lots = {
            "basePrecision": listing.lot,
            "quotePrecision": "0.0000001",
            "minOrderQty": listing.lot,
            "maxOrderQty": "71",
            "minOrderAmt": "1",
            "maxOrderAmt": "2000000",
        }
        return row | {"innovation": "0", "marginTrading": "both", "lotSizeFilter": lots}
    return row | {
        "contractType": "InversePerpetual" if listing.inverse else "LinearPerpetual",
        "launchTime": str(listing.since),
        "deliveryTime": "0",
        "deliveryFeeRate": "",
        "priceScale": "2",
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "lotSizeFilter": {"maxOrderQty": "1190", "minOrderQty": listing.lot, "qtyStep": listing.lot},
        "unifiedMarginTrade": True,
        "fundingInterval": listing.funding_hours * 60,
        "settleCoin": listing.settle,
        "copyTrading": "both",
        "upperFundingRate": "0.005",
        "lowerFundingRate": "-0.005",
        "isPreListing": False,
    }


def _time(call: Call, world: World) -> Reply:
    now = world.now()
    return ok({"timeSecond": str(now // 1000), "timeNano": padded(str(now), 0) + "000000"}, world)


def _route(path: str, handler: Handler) -> Route:
    return Route(HOST, f"/v5/market/{path}", handler)


ROUTES = (
    _route("time", _time),
    _route("kline", _kline),
    _route("funding/history", _funding_history),
    _route("tickers", _tickers),
    _route("open-interest", _open_interest),
    _route("account-ratio", _account_ratio),
    _route("instruments-info", _instruments_info),
)
