"""Binance: spot (also on its data host), USD-M and COIN-M futures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from coinswarm.sandbox.exchanges._parameters import FOREVER, integer, limit_of
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Bar, Funding, Listing
from coinswarm.sandbox.market.numbers import padded, rate, split, text
from coinswarm.sandbox.market.positioning import lateness
from coinswarm.sandbox.protocol import Call, Handler, Refusal, Reply, Route, World, json_reply

_SPOT_HOSTS = ("api.binance.com", "data-api.binance.vision")
HOSTS = (
    *((host, "/api/v3", "spot") for host in _SPOT_HOSTS),
    ("fapi.binance.com", "/fapi/v1", "usdm"),
    ("dapi.binance.com", "/dapi/v1", "coinm"),
)
_INTERVALS = {
    **{f"{n}m": n * MINUTE for n in (1, 3, 5, 15, 30)},
    **{f"{n}h": n * HOUR for n in (1, 2, 4, 6, 8, 12)},
    "1d": DAY,
    "3d": 3 * DAY,
    "1w": 7 * DAY,
}
_PERIODS = {name: _INTERVALS[name] for name in ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")}
_KLINES_LARGEST = {"spot": 1000, "usdm": 1500, "coinm": 1500}
_COINM_LONGEST = 200 * DAY
_STATISTICS_HISTORY = 30 * DAY
_RATIOS = {
    "globalLongShortAccountRatio": "global_accounts",
    "topLongShortAccountRatio": "top_accounts",
    "topLongShortPositionRatio": "top_positions",
}


def _error(code: int, message: str, status: int = 400) -> Reply:
    return json_reply({"code": code, "msg": message}, status=status)


def illegal(name: str) -> Reply:
    """What Binance says to a parameter that is no number."""
    return _error(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")


def _missing(name: str) -> Refusal:
    return Refusal(_error(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed."))


def find_listing(call: Call, world: World, market: str, name: str = "symbol") -> Listing:
    """The listing that a call asks for.

    Raises:
        Refusal: it names none, or one that is not listed.
    """
    symbol = call.query.get(name, "")
    if not symbol:
        raise _missing(name)
    found = world.market.find("binance", market, f"{symbol}_PERP" if name == "pair" else symbol)
    if found is None:
        raise Refusal(_error(-1121, "Invalid symbol."))
    return found


def number(call: Call, name: str) -> int | None:
    """A whole number, None if it was not sent."""
    return integer(call.query, name, illegal)


def time_range(call: Call) -> tuple[int | None, int | None]:
    """`startTime` and `endTime`, both included.

    Raises:
        Refusal: they are in the wrong order, or no numbers.
    """
    start, end = integer(call.query, "startTime", illegal), integer(call.query, "endTime", illegal)
    if start is not None and end is not None and start > end:
        raise Refusal(_error(-1127, "startTime must be less than endTime."))
    return start, end


# ---- bars


def _klines(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        listing = find_listing(call, world, market)
        step = _INTERVALS.get(call.query.get("interval", ""))
        if step is None:
            raise Refusal(_error(-1120, "Invalid interval."))
        limit = limit_of(call.query, 500, _KLINES_LARGEST[market], illegal)
        start, end = time_range(call)
        if market == "coinm" and start is not None and end is not None and end - start > _COINM_LONGEST:
            raise Refusal(_error(-4088, "The difference between startTime and endTime must be within 200 days."))
        last = min(end if end is not None else FOREVER, world.now())
        if start is not None:
            first = max(start, listing.since)
            bars = world.market.bars(listing, step, first, min(last + 1, first + limit * step))
        else:
            first = 0 if world.mode == "replay" else max(0, last - limit * step)
            bars = world.market.bars(listing, step, first, last + 1)[-limit:]
        return json_reply([_kline(listing, bar, step) for bar in bars])

    return handle


def _kline(listing: Listing, bar: Bar, step: int) -> list[Any]:
    if listing.market == "spot":
        prices = [padded(value, 8) for value in (bar.open, bar.high, bar.low, bar.close)]
        amounts = [padded(value, 8) for value in (bar.base, bar.quote, bar.taker_base, bar.taker_quote)]
    else:
        digits = split(listing.tick)[1]
        prices = [padded(value, digits) for value in (bar.open, bar.high, bar.low, bar.close)]
        amounts = [bar.base, bar.quote, bar.taker_base, bar.taker_quote]
        if listing.inverse:
            taker = text(int(bar.taker_quote) // int(listing.contract), 0)
            amounts = [bar.contracts, bar.base, taker, bar.taker_base]
    volume, turnover, taker_volume, taker_turnover = amounts
    close_ms = bar.open_ms + step - 1
    return [bar.open_ms, *prices, volume, close_ms, turnover, bar.trades, taker_volume, taker_turnover, "0"]


# ---- funding


def _funding_rate(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        if market == "coinm" or call.query.get("symbol"):
            listings = [find_listing(call, world, market)]
        else:
            listings = [x for x in world.market.listings("binance") if x.market == market]
        limit = limit_of(call.query, 100, 1000, illegal)
        start, end = time_range(call)
        now = world.now()
        events = []
        for listing in listings:
            # Payments are stamped up to 10 ms late: the range applies to the stamps.
            first = start - 20 if start is not None else max(0, (end or now) - 400 * listing.funding_hours * HOUR)
            last = end if end is not None else now
            if start is not None:
                last = min(last, max(start, listing.since) + (limit + 2) * listing.funding_hours * HOUR)
            for event in world.market.funding(listing, max(0, first), last + 1):
                at = event.at_ms + _late(world, listing, event)
                if (start is None or at >= start) and (end is None or at <= end) and at <= now:
                    events.append((at, listing, event))
        events.sort(key=lambda entry: entry[0])
        page = events[:limit] if start is not None else events[-limit:]
        return json_reply([_funding_row(at, listing, event) for at, listing, event in page])

    return handle


def _late(world: World, listing: Listing, event: Funding) -> int:
    # The recorded history has no stamps of its own.
    return 0 if world.mode == "replay" else lateness(world.seed, listing, event.at_ms)


def _funding_row(at: int, listing: Listing, event: Funding) -> dict[str, Any]:
    row = {"symbol": listing.symbol, "fundingTime": at, "fundingRate": event.rate}
    if listing.market == "usdm":
        row["markPrice"] = "" if event.mark is None else padded(event.mark, 8)
        row["rateType"] = "DEFAULT"
    return row


def _premium_index(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        asked = call.query.get("symbol") or call.query.get("pair")
        if not asked:
            chosen = tuple(x for x in world.market.listings("binance") if x.market == market)
        else:
            chosen = (find_listing(call, world, market, "symbol" if call.query.get("symbol") else "pair"),)
        rows = [_premium_row(listing, world) for listing in chosen]
        return json_reply(rows[0] if asked and market == "usdm" else rows)

    return handle


def _premium_row(listing: Listing, world: World) -> dict[str, Any]:
    quote = world.market.quote(listing)
    pair = {"pair": listing.symbol.split("_")[0]} if listing.market == "coinm" else {}
    return {
        "symbol": listing.symbol,
        **pair,
        "markPrice": padded(quote.mark, 8),
        "indexPrice": padded(quote.index_price, 8),
        "estimatedSettlePrice": padded(quote.index_price, 8),
        "lastFundingRate": quote.funding,
        "interestRate": "0.00010000",
        "nextFundingTime": quote.next_funding_ms,
        "time": quote.at_ms // 1000 * 1000,
    }


def _funding_info(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        return json_reply(
            [
                {
                    "symbol": listing.symbol,
                    "adjustedFundingRateCap": "0.02000000",
                    "adjustedFundingRateFloor": "-0.02000000",
                    "fundingIntervalHours": listing.funding_hours,
                    "disclaimer": False,
                }
                for listing in world.market.listings("binance")
                if listing.market == market
            ]
        )

    return handle


# ---- open interest and ratios


def _open_interest(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        listing = find_listing(call, world, market)
        now = world.now()
        held = world.market.interest(listing, 1, now, now + 1)[-1]
        if market == "usdm":
            return json_reply({"symbol": listing.symbol, "openInterest": held.base, "time": now})
        return json_reply(
            {
                "symbol": listing.symbol,
                "pair": listing.symbol.split("_")[0],
                "openInterest": held.contracts,
                "contractType": "PERPETUAL",
                "time": now,
            }
        )

    return handle


def _statistics(market: str, row: Callable[[Listing, int, int, int, World], list[dict[str, Any]]]) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        listing = find_listing(call, world, market, "symbol" if market == "usdm" else "pair")
        step = _PERIODS.get(call.query.get("period", ""))
        if step is None:
            raise Refusal(_error(-1130, "Data sent for parameter 'period' is not valid."))
        limit = limit_of(call.query, 30, 500, illegal)
        start, end = time_range(call)
        now = world.now()
        if start is not None and start < now - _STATISTICS_HISTORY - DAY:
            raise Refusal(_error(-1130, "parameter 'startTime' is invalid."))
        last = min(end if end is not None else now, now)
        earliest = now - _STATISTICS_HISTORY
        first = max(earliest, start if start is not None else last - limit * step + 1)
        rows = row(listing, step, first, last + 1, world)
        return json_reply(rows[:limit] if start is not None else rows[-limit:])

    return handle


def _interest_rows(listing: Listing, step: int, start: int, end: int, world: World) -> list[dict[str, Any]]:
    rows = []
    for held in world.market.interest(listing, step, start, end):
        if listing.market == "usdm":
            rows.append(
                {
                    "symbol": listing.symbol,
                    "sumOpenInterest": padded(held.base, 8),
                    "sumOpenInterestValue": padded(held.usd, 8),
                    "CMCCirculatingSupply": "0.00000000",
                    "timestamp": held.at_ms,
                }
            )
        else:
            rows.append(
                {
                    "pair": listing.symbol.split("_")[0],
                    "contractType": "PERPETUAL",
                    "sumOpenInterest": padded(held.contracts, 8),
                    "sumOpenInterestValue": padded(held.base, 8),
                    "timestamp": held.at_ms,
                }
            )
    return rows


def _ratio_rows(name: str) -> Callable[[Listing, int, int, int, World], list[dict[str, Any]]]:
    kind = _RATIOS[name]

    def rows(listing: Listing, step: int, start: int, end: int, world: World) -> list[dict[str, Any]]:
        key, subject = ("symbol", listing.symbol) if listing.market == "usdm" else ("pair", listing.symbol[:-5])
        what = "Position" if listing.market == "coinm" and kind == "top_positions" else "Account"
        return [
            {
                key: subject,
                f"long{what}": ratio.long,
                "longShortRatio": ratio.ratio,
                f"short{what}": ratio.short,
                "timestamp": ratio.at_ms,
            }
            for ratio in world.market.ratios(listing, kind, step, start, end)
        ]

    return rows


def _taker_rows(listing: Listing, step: int, start: int, end: int, world: World) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for ratio in world.market.ratios(listing, "taker_volume", step, start, end):
        if listing.market == "usdm":
            rows.append(
                {
                    "buySellRatio": ratio.ratio,
                    "sellVol": padded(ratio.short, 4),
                    "buyVol": padded(ratio.long, 4),
                    "timestamp": ratio.at_ms,
                }
            )
            continue
        mark = float(world.market.mark_at(listing, ratio.at_ms))
        per_coin = mark / float(listing.contract)
        rows.append(
            {
                "pair": listing.symbol[:-5],
                "contractType": "PERPETUAL",
                "takerBuyVol": rate(float(ratio.long) * per_coin, 0),
                "takerSellVol": rate(float(ratio.short) * per_coin, 0),
                "takerBuyVolValue": ratio.long,
                "takerSellVolValue": ratio.short,
                "timestamp": ratio.at_ms,
            }
        )
    return rows


# ---- tickers and metadata


def _ticker_24h(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        if call.query.get("symbol"):
            rows = [_day_row(find_listing(call, world, market), world)]
            return json_reply(rows if market == "coinm" else rows[0])
        return json_reply([_day_row(x, world) for x in world.market.listings("binance") if x.market == market])

    return handle


def _day_row(listing: Listing, world: World) -> dict[str, Any]:
    quote = world.market.quote(listing)
    now = quote.at_ms
    bars = world.market.bars(listing, HOUR, now - 24 * HOUR, now)
    first, volume = bars[0], sum(float(bar.base) for bar in bars)
    turnover = sum(float(bar.quote) for bar in bars)
    change = float(quote.last) - float(first.open)
    row = {
        "symbol": listing.symbol,
        "priceChange": rate(change),
        "priceChangePercent": rate(100 * change / float(first.open), 3),
        "weightedAvgPrice": rate(turnover / volume),
        "lastPrice": quote.last,
        "lastQty": listing.lot,
        "openPrice": first.open,
        "highPrice": max((bar.high for bar in bars), key=float),
        "lowPrice": min((bar.low for bar in bars), key=float),
        "volume": rate(volume),
        "quoteVolume": rate(turnover),
        "openTime": now - DAY,
        "closeTime": now,
        "firstId": 1,
        "lastId": sum(bar.trades for bar in bars),
        "count": sum(bar.trades for bar in bars),
    }
    if listing.market == "spot":
        row |= {"bidPrice": quote.bid, "askPrice": quote.ask, "bidQty": listing.lot, "askQty": listing.lot}
    if listing.market == "coinm":
        row["baseVolume"] = row.pop("volume")
        row["volume"] = rate(turnover / float(listing.contract), 0)
        row["pair"] = listing.symbol[:-5]
        del row["quoteVolume"]
    return row


def _book_ticker(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        if call.query.get("symbol"):
            rows = [_book_row(find_listing(call, world, market), world)]
            return json_reply(rows if market == "coinm" else rows[0])
        return json_reply([_book_row(x, world) for x in world.market.listings("binance") if x.market == market])

    return handle


def _book_row(listing: Listing, world: World) -> dict[str, Any]:
    quote = world.market.quote(listing)
    return {
        "symbol": listing.symbol,
        "bidPrice": quote.bid,
        "bidQty": listing.lot,
        "askPrice": quote.ask,
        "askQty": listing.lot,
        "time": quote.at_ms,
    }


def _price_ticker(market: str) -> Handler:
    def row(listing: Listing, world: World) -> dict[str, Any]:
        return {"symbol": listing.symbol, "price": world.market.quote(listing).last}

    def handle(call: Call, world: World) -> Reply:
        if call.query.get("symbol"):
            rows = [row(find_listing(call, world, market), world)]
            return json_reply(rows if market == "coinm" else rows[0])
        return json_reply([row(x, world) for x in world.market.listings("binance") if x.market == market])

    return handle


def _ping(call: Call, world: World) -> Reply:
    return json_reply({})


def _time(call: Call, world: World) -> Reply:
    return json_reply({"serverTime": world.now()})


def _exchange_info(market: str) -> Handler:
    describe = {"spot": _spot_symbol, "usdm": _futures_symbol, "coinm": _futures_symbol}[market]

    def handle(call: Call, world: World) -> Reply:
        listings = [x for x in world.market.listings("binance") if x.market == market]
        return json_reply(
            {
                "timezone": "UTC",
                "serverTime": world.now(),
                "rateLimits": [
                    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000}
                ],
                "exchangeFilters": [],
                "symbols": [describe(listing) for listing in listings],
            }
        )

    return handle


def _filters(listing: Listing, notional: str) -> list[dict[str, Any]]:
    tick, lot = listing.tick, listing.lot
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": lot, "maxQty": "9000", "stepSize": lot},
        {"filterType": "MARKET_LOT_SIZE", "minQty": lot, "maxQty": "1000", "stepSize": lot},
        {"filterType": notional, "minNotional": "5", "notional": "5"},
    ]


def _spot_symbol(listing: Listing) -> dict[str, Any]:
    return {
        "symbol": listing.symbol,
        "status": "TRADING",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "icebergAllowed": True,
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True,
        "filters": _filters(listing, "NOTIONAL"),
        "permissions": [],
        "permissionSets": [["SPOT"]],
    }


def _futures_symbol(listing: Listing) -> dict[str, Any]:
    contract = {"contractSize": int(listing.contract)} if listing.inverse else {}
    status = "contractStatus" if listing.inverse else "status"
    return {
        "symbol": listing.symbol,
        "pair": listing.symbol.split("_")[0],
        "contractType": "PERPETUAL",
        "deliveryDate": 4133404800000,
        "onboardDate": listing.since,
        status: "TRADING",
        **contract,
        "baseAsset": listing.base,
        "quoteAsset": listing.quote,
        "marginAsset": listing.settle,
        "pricePrecision": split(listing.tick)[1],
        "quantityPrecision": split(listing.lot)[1],
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": ["PoW"],
        "filters": _filters(listing, "MIN_NOTIONAL"),
        "orderTypes": ["LIMIT", "MARKET"],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def _routes() -> tuple[Route, ...]:
    routes = []
    for host, prefix, market in HOSTS:
        routes += [
            Route(host, f"{prefix}/ping", _ping),
            Route(host, f"{prefix}/time", _time),
            Route(host, f"{prefix}/exchangeInfo", _exchange_info(market)),
            Route(host, f"{prefix}/klines", _klines(market)),
            Route(host, f"{prefix}/ticker/24hr", _ticker_24h(market)),
            Route(host, f"{prefix}/ticker/price", _price_ticker(market)),
            Route(host, f"{prefix}/ticker/bookTicker", _book_ticker(market)),
        ]
        if market == "spot":
            continue
        taker = "takerlongshortRatio" if market == "usdm" else "takerBuySellVol"
        routes += [
            Route(host, f"{prefix}/fundingRate", _funding_rate(market)),
            Route(host, f"{prefix}/premiumIndex", _premium_index(market)),
            Route(host, f"{prefix}/fundingInfo", _funding_info(market)),
            Route(host, f"{prefix}/openInterest", _open_interest(market)),
            Route(host, "/futures/data/openInterestHist", _statistics(market, _interest_rows)),
            Route(host, f"/futures/data/{taker}", _statistics(market, _taker_rows)),
            *(Route(host, f"/futures/data/{name}", _statistics(market, _ratio_rows(name))) for name in _RATIOS),
        ]
    return tuple(routes)


ROUTES = _routes()
