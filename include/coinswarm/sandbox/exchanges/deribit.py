"""Deribit: JSON-RPC over GET; charts as one array per column, options with their volatilities."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from coinswarm.sandbox.exchanges._parameters import integer
from coinswarm.sandbox.market.latent import ASSETS
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Listing, OptionQuote
from coinswarm.sandbox.protocol import Call, Handler, Refusal, Reply, Route, World, json_reply

_HOST = "www.deribit.com"
_RESOLUTIONS = {**{str(n): n * MINUTE for n in (1, 3, 5, 10, 15, 30, 60, 120, 180, 360, 720)}, "1D": DAY}
_INDEX_RESOLUTIONS = {"1": 1000, "60": MINUTE, "3600": HOUR, "43200": 12 * HOUR, "1D": DAY}
_CHART_LARGEST = 5000
_FUNDING_LARGEST = 744
_INDEX_LARGEST = 1000
_CURRENCIES = ("BTC", "ETH")
_KINDS = ("future", "option", "spot", "future_combo", "option_combo")


def envelope(world: World, **content: Any) -> dict[str, Any]:
    """A JSON-RPC answer with its times."""
    now = world.now() * 1000
    return {"jsonrpc": "2.0", **content, "usIn": now, "usOut": now, "usDiff": 0, "testnet": False}


def ok(result: Any, world: World) -> Reply:
    """A result."""
    return json_reply(envelope(world, result=result))


def refusal(world: World, reason: str, name: str, code: int = -32602, message: str = "Invalid params") -> Refusal:
    """The way out with an error."""
    error = {"message": message, "data": {"reason": reason, "param": name}, "code": code}
    return Refusal(json_reply(envelope(world, error=error), status=400))


def moment_asked(call: Call, world: World, name: str) -> int:
    """A required whole number.

    Raises:
        Refusal: it is missing, or no number.
    """
    value = integer(call.query, name, lambda what: refusal(world, "must be an integer", what).reply)
    if value is None:
        raise refusal(world, "value required", name)
    return value


def _range(call: Call, world: World) -> tuple[int, int]:
    start, end = moment_asked(call, world, "start_timestamp"), moment_asked(call, world, "end_timestamp")
    if start > end:
        raise refusal(world, "start_timestamp must be before end_timestamp", "start_timestamp")
    return start, end


def find_perpetual(call: Call, world: World) -> Listing:
    """The perpetual that a call asks for.

    Raises:
        Refusal: it is not listed.
    """
    name = call.query.get("instrument_name", "")
    found = world.market.find("deribit", "perpetual", name)
    if found is None:
        raise refusal(world, "wrong format" if name else "value required", "instrument_name")
    return found


def _currency(call: Call, world: World, *, required: bool = True) -> tuple[str, ...]:
    currency = call.query.get("currency", "")
    if currency in _CURRENCIES:
        return (currency,)
    if (currency == "any" or not currency) and not required:
        return _CURRENCIES
    if currency in ("USDC", "USDT", "EURR", "SOL"):
        return ()
    raise refusal(world, "invalid currency" if currency else "value required", "currency")


# ---- bars, funding, volatility index


def _chart(call: Call, world: World) -> Reply:
    listing = find_perpetual(call, world)
    step = _RESOLUTIONS.get(call.query.get("resolution", ""))
    if step is None:
        raise refusal(world, "invalid resolution", "resolution")
    start, end = _range(call, world)
    last = min(end, world.now())
    bars = world.market.bars(listing, step, max(start, last - _CHART_LARGEST * step), last + 1)[-_CHART_LARGEST:]
    result = {
        "volume": [float(bar.base) for bar in bars],
        "ticks": [bar.open_ms for bar in bars],
        "status": "ok" if bars else "no_data",
        "open": [number(bar.open) for bar in bars],
        "low": [number(bar.low) for bar in bars],
        "high": [number(bar.high) for bar in bars],
        "cost": [number(bar.quote) for bar in bars],
        "close": [number(bar.close) for bar in bars],
    }
    return ok(result, world)


def number(text: str) -> float | int:
    """A JSON number of the same value."""
    return float(text) if "." in text else int(text)


def _funding_history(call: Call, world: World) -> Reply:
    listing = find_perpetual(call, world)
    start, end = _range(call, world)
    last = min(end, world.now())
    first = max(start, last - _FUNDING_LARGEST * HOUR, listing.since)
    # Deribit's funding is continuous: each hour tells the last hour's and the last eight hours' interest.
    hourly = {e.at_ms: e for e in world.market.funding(_hourly(listing), first - 9 * HOUR, last + 1)}
    rows = []
    for at in (moment for moment in sorted(hourly) if moment >= first):
        eight = [float(hourly[hour].rate) for hour in range(at - 7 * HOUR, at + 1, HOUR) if hour in hourly]
        before = hourly.get(at - HOUR)
        rows.append(
            {
                "timestamp": at,
                "index_price": float(hourly[at].mark or 0),
                "prev_index_price": float((before or hourly[at]).mark or 0),
                "interest_8h": round(sum(eight), 12),
                "interest_1h": float(hourly[at].rate),
            }
        )
    return ok(rows[-_FUNDING_LARGEST:], world)


def _funding_value(call: Call, world: World) -> Reply:
    listing = find_perpetual(call, world)
    start, end = _range(call, world)
    return ok(sum(float(event.rate) for event in world.market.funding(_hourly(listing), start + 1, end + 1)), world)


def _hourly(listing: Listing) -> Listing:
    return replace(listing, funding_hours=1)


def _volatility_index(call: Call, world: World) -> Reply:
    chosen = _currency(call, world)
    step = _INDEX_RESOLUTIONS.get(call.query.get("resolution", ""))
    if step is None:
        raise refusal(world, "invalid resolution", "resolution")
    start, end = _range(call, world)
    last = min(end, world.now())
    if not chosen:
        return ok({"data": [], "continuation": None}, world)
    first = max(start, last - (_INDEX_LARGEST + 1) * step)
    bars = world.market.volatility(chosen[0], step, first, last + 1)
    # More than a page: the newest rows, and where the older ones end.
    page = bars[-_INDEX_LARGEST:]
    more = len(bars) > len(page)
    return ok({"data": [list(bar) for bar in page], "continuation": page[0].open_ms - 1 if more else None}, world)


# ---- book summaries, tickers


def _book_summary(call: Call, world: World) -> Reply:
    chosen = _currency(call, world)
    kind = call.query.get("kind", "")
    if kind and kind not in _KINDS:
        raise refusal(world, "invalid kind", "kind")
    rows: list[dict[str, Any]] = []
    for currency in chosen:
        if kind in ("", "future"):
            rows += [_future_summary(x, world) for x in world.market.listings("deribit") if x.base == currency]
        if kind in ("", "option"):
            index = float(world.market.index_price(currency, "USD"))
            rows += [_option_summary(quote, index, world.now()) for quote in world.market.options(currency)]
    return ok(rows, world)


def _instrument_summary(call: Call, world: World) -> Reply:
    name = call.query.get("instrument_name", "")
    listing = world.market.find("deribit", "perpetual", name)
    if listing is not None:
        return ok([_future_summary(listing, world)], world)
    quote = _option(name, world)
    index = float(world.market.index_price(quote.option.asset, "USD"))
    return ok([_option_summary(quote, index, world.now())], world)


def _option(name: str, world: World) -> OptionQuote:
    asset = name.split("-")[0]
    if asset in _CURRENCIES:
        for quote in world.market.options(asset):
            if quote.option.name == name:
                return quote
    raise refusal(world, "wrong format" if name else "value required", "instrument_name")


def _middle(bid: float | None, ask: float | None) -> float | None:
    return None if bid is None or ask is None else round((bid + ask) / 2, 6)


def _option_summary(quote: OptionQuote, index: float, now: int) -> dict[str, Any]:
    asset = quote.option.asset
    traded = quote.volume > 0.5
    return {
        "volume_usd": round(quote.volume * quote.mark * quote.forward, 2),
        "volume": quote.volume,
        "underlying_price": quote.forward,
        "underlying_index": quote.option.name.rsplit("-", 2)[0],
        "quote_currency": asset,
        "price_change": None,
        "open_interest": quote.open_interest,
        "mid_price": _middle(quote.bid, quote.ask),
        "mark_price": quote.mark,
        "mark_iv": quote.mark_iv,
        "low": quote.bid if traded else None,
        "last": quote.mark if traded else None,
        "interest_rate": 0.0,
        "instrument_name": quote.option.name,
        "high": quote.ask if traded else None,
        "estimated_delivery_price": index,
        "creation_timestamp": now,
        "bid_price": quote.bid,
        "base_currency": asset,
        "ask_price": quote.ask,
    }


def _future_summary(listing: Listing, world: World) -> dict[str, Any]:
    quote = world.market.quote(listing)
    day = world.market.bars(listing, HOUR, quote.at_ms - 24 * HOUR, quote.at_ms)
    dollars = sum(float(bar.quote) for bar in day)
    bid, ask = float(quote.bid), float(quote.ask)
    held = world.market.interest(listing, 1, quote.at_ms, quote.at_ms + 1)[-1]
    return {
        "volume_usd": dollars,
        "volume_notional": dollars,
        "volume": round(sum(float(bar.base) for bar in day), 8),
        "quote_currency": "USD",
        "price_change": round(100 * (float(quote.last) / float(day[0].open) - 1), 4),
        "open_interest": number(held.usd),
        "mid_price": (bid + ask) / 2,
        "mark_price": float(quote.mark),
        "low": min(float(bar.low) for bar in day),
        "last": float(quote.last),
        "instrument_name": listing.symbol,
        "high": max(float(bar.high) for bar in day),
        "funding_8h": float(quote.funding),
        "estimated_delivery_price": float(quote.index_price),
        "current_funding": float(quote.funding),
        "creation_timestamp": quote.at_ms,
        "bid_price": bid,
        "base_currency": listing.base,
        "ask_price": ask,
    }


def _ticker(call: Call, world: World) -> Reply:
    name = call.query.get("instrument_name", "")
    listing = world.market.find("deribit", "perpetual", name)
    if listing is not None:
        return ok(perpetual_ticker(listing, world), world)
    return ok(option_ticker(_option(name, world), world), world)


def perpetual_ticker(listing: Listing, world: World) -> dict[str, Any]:
    """A ticker of a perpetual, as REST and stream say it."""
    row = _future_summary(listing, world)
    stats = {name: row[name] for name in ("volume_usd", "volume_notional", "volume", "price_change", "low", "high")}
    return {
        "timestamp": row["creation_timestamp"],
        "stats": stats,
        "state": "open",
        "settlement_price": row["mark_price"],
        "open_interest": row["open_interest"],
        "min_price": row["mark_price"] * 0.985,
        "max_price": row["mark_price"] * 1.015,
        "mark_price": row["mark_price"],
        "last_price": row["last"],
        "interest_value": 0.0,
        "instrument_name": listing.symbol,
        "index_price": row["estimated_delivery_price"],
        "funding_8h": row["funding_8h"],
        "estimated_delivery_price": row["estimated_delivery_price"],
        "current_funding": row["current_funding"],
        "best_bid_price": row["bid_price"],
        "best_bid_amount": 1000.0,
        "best_ask_price": row["ask_price"],
        "best_ask_amount": 1000.0,
    }


def option_ticker(quote: OptionQuote, world: World, at: int | None = None) -> dict[str, Any]:
    """A ticker of an option, as REST and stream say it, now or at another moment."""
    now = world.now() if at is None else at
    summary = _option_summary(quote, float(world.market.index_price(quote.option.asset, "USD", now)), now)
    return {
        "timestamp": now,
        "stats": {name: summary[name] for name in ("volume_usd", "volume", "price_change", "low", "high")},
        "state": "open",
        "settlement_price": quote.mark,
        "open_interest": quote.open_interest,
        "mark_price": quote.mark,
        "mark_iv": quote.mark_iv,
        "bid_iv": quote.bid_iv,
        "ask_iv": quote.ask_iv,
        "last_price": summary["last"],
        "interest_rate": 0.0,
        "instrument_name": quote.option.name,
        "index_price": summary["estimated_delivery_price"],
        "estimated_delivery_price": summary["estimated_delivery_price"],
        "underlying_price": quote.forward,
        "underlying_index": summary["underlying_index"],
        "greeks": {
            "delta": quote.delta,
            "gamma": quote.gamma,
            "vega": quote.vega,
            "theta": quote.theta,
            "rho": quote.rho,
        },
        "best_bid_price": quote.bid or 0.0,
        "best_bid_amount": 10.0 if quote.bid else 0.0,
        "best_ask_price": quote.ask or 0.0,
        "best_ask_amount": 10.0,
    }


# ---- metadata


def _instruments(call: Call, world: World) -> Reply:
    chosen = _currency(call, world, required=False)
    kind = call.query.get("kind", "")
    if kind and kind not in _KINDS:
        raise refusal(world, "invalid kind", "kind")
    rows: list[dict[str, Any]] = []
    if call.query.get("expired") == "true":
        return ok(rows, world)
    for currency in chosen:
        if kind in ("", "future"):
            rows += [_perpetual_row(x) for x in world.market.listings("deribit") if x.base == currency]
        if kind in ("", "option"):
            rows += [_option_row(quote) for quote in world.market.options(currency)]
    return ok(rows, world)


def _instrument_row(name: str, asset: str, kind: str, expires_ms: int) -> dict[str, Any]:
    return {
        "instrument_name": name,
        "kind": kind,
        "base_currency": asset,
        "counter_currency": "USD",
        "settlement_currency": asset,
        "price_index": f"{asset.lower()}_usd",
        "expiration_timestamp": expires_ms,
        "is_active": True,
        "rfq": False,
        "maker_commission": 0.0,
        "taker_commission": 0.0003,
        "block_trade_commission": 0.0003,
        "instrument_id": sum(name.encode()) * len(name),
    }


def _perpetual_row(listing: Listing) -> dict[str, Any]:
    row = _instrument_row(listing.symbol, listing.base, "future", 32503708800000)
    return row | {
        "tick_size": float(listing.tick),
        "contract_size": float(listing.contract),
        "min_trade_amount": float(listing.contract),
        "settlement_period": "perpetual",
        "quote_currency": "USD",
        "instrument_type": "reversed",
        "creation_timestamp": listing.since,
        "max_leverage": 50,
        "tick_size_steps": [],
        "future_type": "reversed",
    }


def _option_row(quote: OptionQuote) -> dict[str, Any]:
    option = quote.option
    row = _instrument_row(option.name, option.asset, "option", option.expires_ms)
    return row | {
        "tick_size": 0.0001,
        "contract_size": 1.0,
        "min_trade_amount": 0.1 if option.asset == "BTC" else 1.0,
        "settlement_period": "month",
        "quote_currency": option.asset,
        "instrument_type": "reversed",
        "creation_timestamp": option.expires_ms - 90 * DAY,
        "strike": float(option.strike),
        "option_type": "call" if option.call else "put",
        "tick_size_steps": [{"tick_size": 0.0005, "above_price": 0.005}],
    }


def _index_price(call: Call, world: World) -> Reply:
    name = call.query.get("index_name", "")
    asset, _, quote = name.partition("_")
    if asset.upper() not in ASSETS or quote not in ("usd", "usdt"):
        raise refusal(world, "invalid index_name" if name else "value required", "index_name")
    price = float(world.market.index_price(asset.upper(), quote.upper()))
    return ok({"index_price": price, "estimated_delivery_price": price}, world)


def _currencies(call: Call, world: World) -> Reply:
    rows: list[dict[str, Any]] = [
        {
            "currency": name,
            "currency_long": {"BTC": "Bitcoin", "ETH": "Ethereum"}[name],
            "coin_type": "BITCOIN" if name == "BTC" else "ETHER",
            "decimals": 8 if name == "BTC" else 6,
            "fee_precision": 4,
            "min_confirmations": 1,
            "min_withdrawal_fee": 0.0001,
            "withdrawal_fee": 0.0001,
            "withdrawal_priorities": [],
        }
        for name in _CURRENCIES
    ]
    return ok(rows, world)


def _contract_size(call: Call, world: World) -> Reply:
    return ok({"contract_size": float(find_perpetual(call, world).contract)}, world)


def _time(call: Call, world: World) -> Reply:
    return ok(world.now(), world)


def _status(call: Call, world: World) -> Reply:
    return ok({"locked": "false", "locked_indices": []}, world)


def route(name: str, handler: Handler) -> Route:
    """A public method."""
    return Route(_HOST, f"/api/v2/public/{name}", handler)


ROUTES = (
    route("get_time", _time),
    route("status", _status),
    route("get_currencies", _currencies),
    route("get_instruments", _instruments),
    route("get_contract_size", _contract_size),
    route("get_index_price", _index_price),
    route("get_tradingview_chart_data", _chart),
    route("get_funding_rate_history", _funding_history),
    route("get_volatility_index_data", _volatility_index),
    route("get_book_summary_by_currency", _book_summary),
    route("get_book_summary_by_instrument", _instrument_summary),
    route("get_funding_rate_value", _funding_value),
    route("ticker", _ticker),
)
