"""Coinbase Advanced Trade: public products and candles, newest first, intervals without a trade left out."""

from __future__ import annotations

from typing import Any

from coinswarm.sandbox.exchanges._parameters import integer, iso, limit_of
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Listing
from coinswarm.sandbox.market.numbers import rate
from coinswarm.sandbox.protocol import Call, Refusal, Reply, Route, World, json_reply

HOST = "api.coinbase.com"
PRODUCTS = "/api/v3/brokerage/market/products"
_LARGEST = 350
_GRANULARITIES = {
    "ONE_MINUTE": MINUTE,
    "FIVE_MINUTE": 5 * MINUTE,
    "FIFTEEN_MINUTE": 15 * MINUTE,
    "THIRTY_MINUTE": 30 * MINUTE,
    "ONE_HOUR": HOUR,
    "TWO_HOUR": 2 * HOUR,
    "FOUR_HOUR": 4 * HOUR,
    "SIX_HOUR": 6 * HOUR,
    "ONE_DAY": DAY,
}


def _error(kind: str, message: str, status: int) -> Reply:
    return json_reply({"error": kind, "error_details": message, "message": message}, status=status)


def invalid(what: str) -> Reply:
    """What Coinbase says to a wrong argument."""
    return _error("INVALID_ARGUMENT", f"valid {what} is required", 400)


def find_product(call: Call, world: World) -> Listing:
    """The product of the path.

    Raises:
        Refusal: it is not listed.
    """
    found = world.market.find("coinbase", "spot", call.captured["product_id"])
    if found is None:
        raise Refusal(_error("NOT_FOUND", "valid product_id is required", 404))
    return found


def _candles(call: Call, world: World) -> Reply:
    listing = find_product(call, world)
    step = _GRANULARITIES.get(call.query.get("granularity", ""))
    if step is None:
        raise Refusal(invalid("granularity"))
    start, end = integer(call.query, "start", invalid), integer(call.query, "end", invalid)
    if start is None or end is None:
        raise Refusal(invalid("start" if start is None else "end"))
    limit = limit_of(call.query, _LARGEST, _LARGEST, invalid)
    if end < start:
        raise Refusal(_error("INVALID_ARGUMENT", "start must be before end", 400))
    if (end - start) * 1000 // step > _LARGEST:
        raise Refusal(_error("INVALID_ARGUMENT", f"number of candles requested should be less than {_LARGEST}", 400))
    bars = world.market.bars(listing, step, start * 1000, end * 1000 + 1)
    traded = [bar for bar in bars if bar.trades][-limit:]
    rows = [
        {
            "start": str(bar.open_ms // 1000),
            "low": bar.low,
            "high": bar.high,
            "open": bar.open,
            "close": bar.close,
            "volume": bar.base,
        }
        for bar in reversed(traded)
    ]
    return json_reply({"candles": rows})


def _product_row(listing: Listing, world: World) -> dict[str, Any]:
    quote = world.market.quote(listing)
    day = world.market.bars(listing, HOUR, quote.at_ms - 24 * HOUR, quote.at_ms)
    volume = sum(float(bar.base) for bar in day)
    change = 100 * (float(quote.last) / float(day[0].open) - 1)
    return {
        "product_id": listing.symbol,
        "price": quote.last,
        "price_percentage_change_24h": rate(change),
        "volume_24h": rate(volume),
        "volume_percentage_change_24h": "0",
        "base_increment": listing.lot,
        "quote_increment": listing.tick,
        "quote_min_size": "1",
        "quote_max_size": "50000000",
        "base_min_size": listing.lot,
        "base_max_size": "3400",
        "base_name": listing.base,
        "quote_name": listing.quote,
        "watched": False,
        "is_disabled": False,
        "new": False,
        "status": "online",
        "cancel_only": False,
        "limit_only": False,
        "post_only": False,
        "trading_disabled": False,
        "auction_mode": False,
        "product_type": "SPOT",
        "quote_currency_id": listing.quote,
        "base_currency_id": listing.base,
        "fcm_trading_session_details": None,
        "mid_market_price": "",
        "alias": "",
        "alias_to": [],
        "base_display_symbol": listing.base,
        "quote_display_symbol": listing.quote,
        "view_only": False,
        "price_increment": listing.tick,
        "display_name": listing.symbol,
        "product_venue": "CBE",
        "approximate_quote_24h_volume": rate(volume * float(quote.last), 2),
    }


def _products(call: Call, world: World) -> Reply:
    if call.query.get("product_type", "SPOT") not in ("SPOT", "UNKNOWN_PRODUCT_TYPE"):
        return json_reply({"products": [], "num_products": 0})
    rows = [_product_row(listing, world) for listing in world.market.listings("coinbase")]
    return json_reply({"products": rows, "num_products": len(rows)})


def _product(call: Call, world: World) -> Reply:
    return json_reply(_product_row(find_product(call, world), world))


def _time(call: Call, world: World) -> Reply:
    now = world.now()
    return json_reply({"iso": iso(now), "epochSeconds": str(now // 1000), "epochMillis": str(now)})


def _currencies(call: Call, world: World) -> Reply:
    names = {name: None for listing in world.market.listings("coinbase") for name in (listing.base, listing.quote)}
    if call.path.endswith("crypto"):
        rows = [{"code": name, "name": name, "exponent": 8, "type": "crypto"} for name in names if name != "USD"]
    else:
        rows = [{"id": "USD", "name": "US Dollar", "min_size": "0.01"}]
    return json_reply({"data": rows})


def _exchange_rates(call: Call, world: World) -> Reply:
    bases = {listing.base for listing in world.market.listings("coinbase")}
    rates = {base: rate(1 / float(world.market.index_price(base, "USD")), 12) for base in sorted(bases)}
    return json_reply({"data": {"currency": "USD", "rates": {"USD": "1.0", **rates}}})


ROUTES = (
    Route(HOST, "/api/v3/brokerage/time", _time),
    Route(HOST, PRODUCTS, _products),
    Route(HOST, f"{PRODUCTS}/{{product_id}}/candles", _candles),
    Route(HOST, f"{PRODUCTS}/{{product_id}}", _product),
    Route(HOST, "/v2/currencies", _currencies),
    Route(HOST, "/v2/currencies/crypto", _currencies),
    Route(HOST, "/v2/exchange-rates", _exchange_rates),
)
