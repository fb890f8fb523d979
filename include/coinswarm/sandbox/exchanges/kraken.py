"""Kraken: spot, which knows a pair by three names, and Kraken Futures."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from coinswarm.sandbox.exchanges._parameters import FOREVER, integer, iso
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Bar, Listing
from coinswarm.sandbox.market.numbers import padded, rate, split
from coinswarm.sandbox.protocol import Call, Refusal, Reply, Route, World, json_reply

SPOT = "api.kraken.com"
FUTURES = "futures.kraken.com"

# ---- spot

_LATEST = 720
_INTERVALS = (1, 5, 15, 30, 60, 240, 1440, 10080, 21600)
_ALTNAMES = {"XXBTZUSD": "XBTUSD", "XETHZUSD": "ETHUSD", "XETHXXBT": "ETHXBT", "SOLUSD": "SOLUSD"}
_CODES = {"BTC": ("XXBT", "XBT"), "ETH": ("XETH", "ETH"), "SOL": ("SOL", "SOL"), "USD": ("ZUSD", "USD")}


def _spot_error(message: str) -> Reply:
    return json_reply({"error": [message]})


def invalid(name: str) -> Reply:
    """What Kraken says to a wrong argument."""
    return _spot_error("EGeneral:Invalid arguments")


def _wsname(listing: Listing) -> str:
    return f"{_CODES[listing.base][1]}/{_CODES[listing.quote][1]}"


def new_name(listing: Listing) -> str:
    """The pair as WebSocket v2 spells it."""
    return f"{listing.base}/{listing.quote}"


def find_pair(name: str, world: World) -> Listing:
    """The pair by any of its names.

    Raises:
        Refusal: it is not listed.
    """
    for listing in world.market.listings("kraken"):
        names = (listing.symbol, _ALTNAMES.get(listing.symbol), _wsname(listing), new_name(listing))
        if listing.market == "spot" and name in names:
            return listing
    raise Refusal(_spot_error("EQuery:Unknown asset pair"))


def key_of(call: Call, listing: Listing) -> str:
    """The name under which a pair's rows come."""
    return new_name(listing) if call.query.get("assetVersion") == "1" else listing.symbol


def _ohlc(call: Call, world: World) -> Reply:
    if not call.query.get("pair"):
        raise Refusal(invalid("pair"))
    listing = find_pair(call.query["pair"], world)
    minutes = integer(call.query, "interval", invalid) or 1
    if minutes not in _INTERVALS:
        raise Refusal(invalid("interval"))
    since = integer(call.query, "since", invalid) or 0
    step, now = minutes * MINUTE, world.now()
    # The latest 720 finished bars and the one that runs, whatever `since` says; `since` itself is excluded.
    bars = world.market.bars(listing, step, now - (_LATEST + 1) * step + 1, now + 1)[-(_LATEST + 1) :]
    digits = split(listing.tick)[1]
    rows = [_ohlc_row(bar, digits) for bar in bars if bar.open_ms > since * 1000]
    last = bars[-2].open_ms // 1000 if len(bars) > 1 else 0
    return json_reply({"error": [], "result": {key_of(call, listing): rows, "last": last}})


def _ohlc_row(bar: Bar, digits: int) -> list[Any]:
    prices = [padded(value, digits) for value in (bar.open, bar.high, bar.low, bar.close)]
    average = rate(float(bar.quote) / float(bar.base), digits) if bar.trades else "0.0"
    return [bar.open_ms // 1000, *prices, average, padded(bar.base, 8), bar.trades]


def _asset_pairs(call: Call, world: World) -> Reply:
    chosen = [x for x in world.market.listings("kraken") if x.market == "spot"]
    if call.query.get("pair"):
        chosen = [find_pair(name, world) for name in call.query["pair"].split(",")]
    return json_reply({"error": [], "result": {key_of(call, listing): _pair_row(listing) for listing in chosen}})


def _pair_row(listing: Listing) -> dict[str, Any]:
    return {
        "altname": _ALTNAMES[listing.symbol],
        "wsname": _wsname(listing),
        "aclass_base": "currency",
        "base": _CODES[listing.base][0],
        "aclass_quote": "currency",
        "quote": _CODES[listing.quote][0],
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": split(listing.tick)[1],
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [2, 3],
        "leverage_sell": [2, 3],
        "fees": [[0, 0.4], [10000, 0.35]],
        "fees_maker": [[0, 0.25], [10000, 0.2]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.0001",
        "costmin": "0.5",
        "tick_size": listing.tick,
        "status": "online",
    }


def _spot_ticker(call: Call, world: World) -> Reply:
    chosen = [x for x in world.market.listings("kraken") if x.market == "spot"]
    if call.query.get("pair"):
        chosen = [find_pair(name, world) for name in call.query["pair"].split(",")]
    return json_reply(
        {"error": [], "result": {key_of(call, listing): _ticker_row(listing, world) for listing in chosen}}
    )


def _ticker_row(listing: Listing, world: World) -> dict[str, Any]:
    quote = world.market.quote(listing)
    now = quote.at_ms
    midnight = now // DAY * DAY
    day = world.market.bars(listing, HOUR, now - 24 * HOUR, now + 1)
    today = [bar for bar in day if bar.open_ms >= midnight]
    spans = (today, day)
    return {
        "a": [quote.ask, "1", "1.000"],
        "b": [quote.bid, "1", "1.000"],
        "c": [quote.last, "0.00100000"],
        "v": [rate(sum(float(bar.base) for bar in span)) for span in spans],
        "p": [rate(sum(float(b.quote) for b in s) / sum(float(b.base) for b in s), 5) for s in spans],
        "t": [sum(bar.trades for bar in span) for span in spans],
        "l": [min((bar.low for bar in span), key=float) for span in spans],
        "h": [max((bar.high for bar in span), key=float) for span in spans],
        "o": today[0].open,
    }


def _assets(call: Call, world: World) -> Reply:
    names = {n for x in world.market.listings("kraken") if x.market == "spot" for n in (x.base, x.quote)}
    rows = {
        _CODES[name][0]: {
            "aclass": "currency",
            "altname": _CODES[name][1],
            "decimals": 10 if name != "USD" else 4,
            "display_decimals": 5 if name != "USD" else 2,
            "status": "enabled",
        }
        for name in sorted(names)
    }
    return json_reply({"error": [], "result": rows})


def _spot_time(call: Call, world: World) -> Reply:
    now = world.now()
    return json_reply({"error": [], "result": {"unixtime": now // 1000, "rfc1123": iso(now)}})


def _system_status(call: Call, world: World) -> Reply:
    return json_reply({"error": [], "result": {"status": "online", "timestamp": iso(world.now())[:-5] + "Z"}})


# ---- futures

_RESOLUTIONS = {
    "1m": MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "4h": 4 * HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "1w": 7 * DAY,
}
_CANDLES_LARGEST = 2000
_ANALYTICS_LARGEST = 1000


def number(text: str) -> float | int:
    """A JSON number with the text's own value (at most 15 significant digits here, which a float keeps)."""
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)


def futures_error(message: str, world: World, status: int = 200) -> Reply:
    """What Kraken Futures says to a wrong argument."""
    return json_reply({"result": "error", "error": message, "serverTime": iso(world.now())}, status=status)


def find_contract(name: str, world: World) -> Listing | None:
    """A futures contract by its name, None if it is not listed."""
    return world.market.find("kraken", "futures", name.upper())


def _tickers(call: Call, world: World) -> Reply:
    rows = [_futures_ticker(x, world) for x in world.market.listings("kraken") if x.market == "futures"]
    return json_reply({"result": "success", "tickers": rows, "serverTime": iso(world.now())})


def _ticker(call: Call, world: World) -> Reply:
    listing = find_contract(call.captured["symbol"], world)
    if listing is None:
        return futures_error("contractNotFound", world, 404)
    row = _futures_ticker(listing, world)
    return json_reply({"result": "success", "ticker": row, "serverTime": iso(world.now())})


def _futures_ticker(listing: Listing, world: World) -> dict[str, Any]:
    quote = world.market.quote(listing)
    now = quote.at_ms
    day = world.market.bars(listing, HOUR, now - 24 * HOUR, now)
    settled = world.market.funding(listing, now - 2 * HOUR, now + 1)
    index = float(quote.index_price)
    current = float(settled[-1].rate) * index if settled else 0.0
    return {
        "symbol": listing.symbol,
        "last": number(quote.last),
        "lastTime": iso(now),
        "tag": "perpetual",
        "pair": f"{_CODES[listing.base][1]}:USD",
        "markPrice": number(quote.mark),
        "bid": number(quote.bid),
        "bidSize": 1,
        "ask": number(quote.ask),
        "askSize": 1,
        "vol24h": round(sum(float(bar.base) for bar in day), 4),
        "volumeQuote": round(sum(float(bar.quote) for bar in day), 4),
        "openInterest": number(quote.open_interest),
        "open24h": number(day[0].open),
        "high24h": max(number(bar.high) for bar in day),
        "low24h": min(number(bar.low) for bar in day),
        "lastSize": 0.01,
        "fundingRate": round(current, 12),
        "fundingRatePrediction": round(float(quote.funding) * index, 12),
        "suspended": False,
        "indexPrice": number(quote.index_price),
        "postOnly": False,
        "change24h": round(100 * (float(quote.last) / float(day[0].open) - 1), 2),
    }


def _instruments(call: Call, world: World) -> Reply:
    rows = [
        {
            "symbol": listing.symbol,
            "type": "flexible_futures",
            "tradeable": True,
            "underlying": f"rr_{_CODES[listing.base][1].lower()}usd",
            "tickSize": number(listing.tick),
            "contractSize": 1,
            "impactMidSize": 1,
            "maxPositionSize": 1000000,
            "openingDate": iso(listing.since),
            "marginLevels": [{"numNonContractUnits": 0, "initialMargin": 0.02, "maintenanceMargin": 0.01}],
            "fundingRateCoefficient": 8,
            "maxRelativeFundingRate": 0.0025,
            "contractValueTradePrecision": split(listing.lot)[1],
            "postOnly": False,
            "category": "Layer 1",
            "base": _CODES[listing.base][1],
            "quote": "USD",
            "pair": f"{_CODES[listing.base][1]}:USD",
            "tags": [],
        }
        for listing in world.market.listings("kraken")
        if listing.market == "futures"
    ]
    return json_reply({"result": "success", "instruments": rows, "serverTime": iso(world.now())})


def _funding_history(call: Call, world: World) -> Reply:
    listing = find_contract(call.query.get("symbol", ""), world)
    if listing is None:
        return futures_error("contractNotFound" if call.query.get("symbol") else "requiredArgumentMissing", world)
    rows = [
        {
            "timestamp": iso(event.at_ms)[:-5] + "Z",
            "fundingRate": round(float(event.rate) * float(event.mark or 0), 12),
            "relativeFundingRate": float(event.rate),
        }
        for event in world.market.funding(listing, 0, FOREVER)
    ]
    return json_reply({"result": "success", "rates": rows, "serverTime": iso(world.now())})


def _chart_error(name: str) -> Reply:
    return json_reply({"error": f"{name} is invalid"}, status=400)


def _candles(call: Call, world: World) -> Reply:
    if call.captured["tick_type"] not in ("trade", "mark", "spot"):
        raise Refusal(_chart_error("tick_type"))
    listing = find_contract(call.captured["symbol"], world)
    step = _RESOLUTIONS.get(call.captured["interval"])
    if listing is None or step is None:
        raise Refusal(json_reply({"error": "market or resolution not found"}, status=404))
    start, end = integer(call.query, "from", _chart_error), integer(call.query, "to", _chart_error)
    now = world.now()
    last = min(now, end * 1000 if end is not None else now)
    first = start * 1000 if start is not None else last - _CANDLES_LARGEST * step
    first = max(first, listing.since)
    bars = world.market.bars(listing, step, first, min(last + 1, first + (_CANDLES_LARGEST + 1) * step))
    more = len(bars) > _CANDLES_LARGEST
    volume = call.captured["tick_type"] == "trade"
    rows = [
        {
            "time": bar.open_ms,
            "open": padded(bar.open, 11),
            "high": padded(bar.high, 11),
            "low": padded(bar.low, 11),
            "close": padded(bar.close, 11),
            "volume": bar.base if volume else "0",
        }
        for bar in bars[:_CANDLES_LARGEST]
    ]
    return json_reply({"candles": rows, "more_candles": more})


def _analytics(call: Call, world: World) -> Reply:
    listing = find_contract(call.captured["symbol"], world)
    interval = integer(call.query, "interval", _chart_error)
    since = integer(call.query, "since", _chart_error)
    if listing is None or call.captured["kind"] != "open-interest":
        raise Refusal(json_reply({"errors": [{"severity": "E", "error_class": "NotFound"}]}, status=404))
    if interval is None or interval * 1000 not in _RESOLUTIONS.values() or since is None:
        raise Refusal(_chart_error("since" if since is None else "interval"))
    to, step, now = integer(call.query, "to", _chart_error), interval * 1000, world.now()
    last = min(now, to * 1000 if to is not None else now)
    first = max(since * 1000, listing.since)
    held = world.market.interest(listing, step, first, min(last + 1, first + (_ANALYTICS_LARGEST + 2) * step))
    page = list(zip(held, held[1:] + held[-1:], strict=True))[: _ANALYTICS_LARGEST + 1]
    more = len(page) > _ANALYTICS_LARGEST
    page = page[:_ANALYTICS_LARGEST]
    rows = []
    for opened, closed in page:
        ends = sorted((opened.base, closed.base), key=float)
        rows.append([opened.base, ends[1], ends[0], closed.base])
    stamps = [opened.at_ms // 1000 for opened, _ in page]
    return json_reply({"result": {"timestamp": stamps, "data": rows, "more": more}, "errors": []})


ROUTES = (
    Route(SPOT, "/0/public/Time", _spot_time),
    Route(SPOT, "/0/public/SystemStatus", _system_status),
    Route(SPOT, "/0/public/Assets", _assets),
    Route(SPOT, "/0/public/AssetPairs", _asset_pairs),
    Route(SPOT, "/0/public/Ticker", _spot_ticker),
    Route(SPOT, "/0/public/OHLC", _ohlc),
    Route(FUTURES, "/derivatives/api/v3/tickers", _tickers),
    Route(FUTURES, "/derivatives/api/v3/tickers/{symbol}", _ticker),
    Route(FUTURES, "/derivatives/api/v3/instruments", _instruments),
    Route(FUTURES, "/derivatives/api/v3/historicalfundingrates", _funding_history),
    Route(FUTURES, "/derivatives/api/v4/historicalfundingrates", _funding_history),
    Route(FUTURES, "/api/charts/v1/analytics/{symbol}/{kind}", _analytics),
    Route(FUTURES, "/api/charts/v1/{tick_type}/{symbol}/{interval}", _candles),
)
