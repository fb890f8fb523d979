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


def _envelope(world: World, **content: Any) -> dict[str, Any]:
    now = world.now() * 1000
    return {"jsonrpc": "2.0", **content, "usIn": now, "usOut": now, "usDiff": 0, "testnet": False}


def _ok(result: Any, world: World) -> Reply:
    return json_reply(_envelope(world, result=result))


def _error(world: World, reason: str, name: str, code: int = -32602, message: str = "Invalid params") -> Refusal:
    error = {"message": message, "data": {"reason": reason, "param": name}, "code": code}
    return Refusal(json_reply(_envelope(world, error=error), status=400))


def _moment(call: Call, world: World, name: str) -> int:
    value = integer(call.query, name, lambda what: _error(world, "must be an integer", what).reply)
    if value is None:
        raise _error(world, "value required", name)
    return value


def _range(call: Call, world: World) -> tuple[int, int]:
    start, end = _moment(call, world, "start_timestamp"), _moment(call, world, "end_timestamp")
    if start > end:
        raise _error(world, "start_timestamp must be before end_timestamp", "start_timestamp")
    return start, end


def _perpetual(call: Call, world: World) -> Listing:
    name = call.query.get("instrument_name", "")
    found = world.market.find("deribit", "perpetual", name)
    if found is None:
        raise _error(world, "wrong format" if name else "value required", "instrument_name")
    return found


def _currency(call: Call, world: World, *, required: bool = True) -> tuple[str, ...]:
    currency = call.query.get("currency", "")
    if currency in _CURRENCIES:
        return (currency,)
    if (currency == "any" or not currency) and not required:
        return _CURRENCIES
    if currency in ("USDC", "USDT", "EURR", "SOL"):
        return ()
    raise _error(world, "invalid currency" if currency else "value required", "currency")


# ---- bars, funding, volatility index


def _chart(call: Call, world: World) -> Reply:
    listing = _perpetual(call, world)
    step = _RESOLUTIONS.get(call.query.get("resolution", ""))
    if step is None:
        raise _error(world, "invalid resolution", "resolution")
    start, end = _range(call, world)
    last = min(end, world.now())
    bars = world.market.bars(listing, step, max(start, last - _CHART_LARGEST * step), last + 1)[-_CHART_LARGEST:]
    result = {
        "volume": [float(bar.base) for bar in bars],
        "ticks": [bar.open_ms for bar in bars],
        "status": "ok" if bars else "no_data",
        "open": [_number(bar.open) for bar in bars],
        "low": [_number(bar.low) for bar in bars],
        "high": [_number(bar.high) for bar in bars],
        "cost": [_number(bar.quote) for bar in bars],
        "close": [_number(bar.close) for bar in bars],
    }
    return _ok(result, world)


def _number(text: str) -> float | int:
    return float(text) if "." in text else int(text)


def _funding_history(call: Call, world: World) -> Reply:
    listing = _perpetual(call, world)
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
    return _ok(rows[-_FUNDING_LARGEST:], world)


def _funding_value(call: Call, world: World) -> Reply:
    listing = _perpetual(call, world)
    start, end = _range(call, world)
    return _ok(sum(float(event.rate) for event in world.market.funding(_hourly(listing), start + 1, end + 1)), world)


def _hourly(listing: Listing) -> Listing:
    return replace(listing, funding_hours=1)


def _volatility_index(call: Call, world: World) -> Reply:
    chosen = _currency(call, world)
    step = _INDEX_RESOLUTIONS.get(call.query.get("resolution", ""))
    if step is None:
        raise _error(world, "invalid resolution", "resolution")
    start, end = _range(call, world)
    last = min(end, world.now())
    if not chosen:
        return _ok({"data": [], "continuation": None}, world)
    first = max(start, last - (_INDEX_LARGEST + 1) * step)
    bars = world.market.volatility(chosen[0], step, first, last + 1)
    # More than a page: the newest rows, and where the older ones end.
    page = bars[-_INDEX_LARGEST:]
    more = len(bars) > len(page)
    return _ok({"data": [list(bar) for bar in page], "continuation": page[0].open_ms - 1 if more else None}, world)


# ---- book summaries, tickers


def _book_summary(call: Call, world: World) -> Reply:
    chosen = _currency(call, world)
    kind = call.query.get("kind", "")
    if kind and kind not in _KINDS:
        raise _error(world, "invalid kind", "kind")
    rows: list[dict[str, Any]] = []
    for currency in chosen:
        if kind in ("", "future"):
            rows += [_future_summary(x, world) for x in world.market.listings("deribit") if x.base == currency]
        if kind in ("", "option"):
            index = float(world.market.index_price(currency, "USD"))
            rows += [_option_summary(quote, index, world.now()) for quote in world.market.options(currency)]
    return _ok(rows, world)


def _instrument_summary(call: Call, world: World) -> Reply:
    name = call.query.get("instrument_name", "")
    listing = world.market.find("deribit", "perpetual", name)
    if listing is not None:
        return _ok([_future_summary(listing, world)], world)
    quote = _option(name, world)
    index = float(world.market.index_price(quote.option.asset, "USD"))
    return _ok([_option_summary(quote, index, world.now())], world)


def _option(name: str, world: World) -> OptionQuote:
    asset = name.split("-")[0]
    if asset in _CURRENCIES:
        for quote in world.market.options(asset):
            if quote.option.name == name:
                return quote
    raise _error(world, "wrong format" if name else "value required", "instrument_name")


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
        "open_interest": _number(held.usd),
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
        return _ok(_perpetual_ticker(listing, world), world)
    return _ok(_option_ticker(_option(name, world), world), world)


def _perpetual_ticker(listing: Listing, world: World) -> dict[str, Any]:
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


def _option_ticker(quote: OptionQuote, world: World) -> dict[str, Any]:
    now = world.now()
    summary = _option_summary(quote, float(world.market.index_price(quote.option.asset, "USD")), now)
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
        raise _error(world, "invalid kind", "kind")
    rows: list[dict[str, Any]] = []
    if call.query.get("expired") == "true":
        return _ok(rows, world)
    for currency in chosen:
        if kind in ("", "future"):
            rows += [_perpetual_row(x) for x in world.market.listings("deribit") if x.base == currency]
        if kind in ("", "option"):
            rows += [_option_row(quote) for quote in world.market.options(currency)]
    return _ok(rows, world)


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
        raise _error(world, "invalid index_name" if name else "value required", "index_name")
    price = float(world.market.index_price(asset.upper(), quote.upper()))
    return _ok({"index_price": price, "estimated_delivery_price": price}, world)


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
    return _ok(rows, world)


def _contract_size(call: Call, world: World) -> Reply:
    return _ok({"contract_size": float(_perpetual(call, world).contract)}, world)


def _time(call: Call, world: World) -> Reply:
    return _ok(world.now(), world)


def _status(call: Call, world: World) -> Reply:
    return _ok({"locked": "false", "locked_indices": []}, world)


def _route(name: str, handler: Handler) -> Route:
    return Route(_HOST, f"/api/v2/public/{name}", handler)


ROUTES = (
    _route("get_time", _time),
    _route("status", _status),
    _route("get_currencies", _currencies),
    _route("get_instruments", _instruments),
    _route("get_contract_size", _contract_size),
    _route("get_index_price", _index_price),
    _route("get_tradingview_chart_data", _chart),
    _route("get_funding_rate_history", _funding_history),
    _route("get_volatility_index_data", _volatility_index),
    _route("get_book_summary_by_currency", _book_summary),
    _route("get_book_summary_by_instrument", _instrument_summary),
    _route("get_funding_rate_value", _funding_value),
    _route("ticker", _ticker),
)
