"""OKX v5: strings everywhere, newest first, `after` means older than."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from coinswarm.sandbox.exchanges._parameters import FOREVER, integer, limit_of
from coinswarm.sandbox.market.model import DAY, HOUR, MINUTE, Bar, Listing
from coinswarm.sandbox.market.numbers import rate
from coinswarm.sandbox.protocol import Call, Handler, Refusal, Reply, Route, World, json_reply

HOST = "www.okx.com"
_BARS = {
    **{f"{n}m": n * MINUTE for n in (1, 3, 5, 15, 30)},
    **{f"{n}H": n * HOUR for n in (1, 2, 4, 6, 12)},
    "1D": DAY,
    "2D": 2 * DAY,
    "3D": 3 * DAY,
    "1W": 7 * DAY,
}
# Bars of six hours and more open on Hong Kong time unless the name ends in `utc`.
_HONG_KONG = -8 * HOUR
_BARS_UTC = {f"{name}utc": step for name, step in _BARS.items() if step >= 6 * HOUR}
_REPLAY_BARS = {"8H": 8 * HOUR, "8Hutc": 8 * HOUR}
_PERIODS = {"5m": 5 * MINUTE, "1H": HOUR, "1D": DAY, **{k: _BARS[k] for k in ("15m", "30m", "2H", "4H", "6H", "12H")}}
_FUNDING_HISTORY = 93 * DAY
_RECENT_BARS = 1440
_TYPES = {"SPOT": "spot", "SWAP": "swap"}
_RATIOS = {
    "long-short-account-ratio-contract": "global_accounts",
    "long-short-account-ratio-contract-top-trader": "top_accounts",
    "long-short-position-ratio-contract-top-trader": "top_positions",
}


def ok(data: Sequence[Any]) -> Reply:
    """Rows in the usual envelope."""
    return json_reply({"code": "0", "msg": "", "data": data})


def _error(code: str, message: str, status: int = 200) -> Reply:
    return json_reply({"code": code, "msg": message, "data": []}, status=status)


def bad(name: str) -> Reply:
    """What OKX says to a wrong parameter."""
    return _error("51000", f"Parameter {name} error", 400)


def find(world: World, name: str) -> Listing | None:
    """An instrument by its name."""
    return world.market.find("okx", "swap" if name.endswith("-SWAP") else "spot", name)


def find_listing(call: Call, world: World) -> Listing:
    """The instrument that a call asks for.

    Raises:
        Refusal: it names none, or one that is not listed.
    """
    name = call.query.get("instId", "")
    if not name:
        raise Refusal(_error("50014", "Parameter instId cannot be empty.", 400))
    found = find(world, name)
    if found is None:
        raise Refusal(_error("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist."))
    return found


def _perpetual(call: Call, world: World) -> Listing:
    listing = find_listing(call, world)
    if not listing.perpetual:
        raise Refusal(bad("instId"))
    return listing


def between(call: Call) -> tuple[int, int]:
    """Exclusive bounds: newer than `before`, older than `after`."""
    before, after = integer(call.query, "before", bad), integer(call.query, "after", bad)
    return (before if before is not None else -1), (after if after is not None else FOREVER)


# ---- bars


def _bar_step(call: Call, world: World) -> tuple[int, int]:
    name = call.query.get("bar", "1m")
    if name in _BARS_UTC:
        return _BARS_UTC[name], 0
    if name in _BARS:
        return _BARS[name], _HONG_KONG if _BARS[name] >= 6 * HOUR else 0
    if world.mode == "replay" and name in _REPLAY_BARS:
        return _REPLAY_BARS[name], 0
    raise Refusal(bad("bar"))


def _candles(*, recent_only: bool) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        listing = find_listing(call, world)
        step, shift = _bar_step(call, world)
        limit = limit_of(call.query, 100, 300, bad)
        newer_than, older_than = between(call)
        now = world.now()
        last = min(older_than - 1, now)
        if world.mode == "replay":
            # A pause in the recording must not cut a page short, so all of it is looked at.
            first = newer_than + 1
        else:
            first = max(newer_than + 1, last - limit * step)
            if recent_only:
                first = max(first, now - _RECENT_BARS * step)
        bars = world.market.bars(listing, step, max(0, first), last + 1, shift=shift)[-limit:]
        return ok([_row(listing, bar, bar.open_ms + step <= now) for bar in reversed(bars)])

    return handle


def _row(listing: Listing, bar: Bar, closed: bool) -> list[str]:
    volumes = [bar.contracts, bar.base, bar.quote] if listing.perpetual else [bar.base, bar.quote, bar.quote]
    return [str(bar.open_ms), bar.open, bar.high, bar.low, bar.close, *volumes, "1" if closed else "0"]


# ---- funding


def _funding_history(call: Call, world: World) -> Reply:
    listing = _perpetual(call, world)
    limit = limit_of(call.query, 400, 400, bad)
    newer_than, older_than = between(call)
    now = world.now()
    first = newer_than + 1 if world.mode == "replay" else max(newer_than + 1, now - _FUNDING_HISTORY)
    events = world.market.funding(listing, max(0, first), min(older_than, now + 1))[-limit:]
    return ok(
        [
            {
                "formulaType": "withRate",
                "fundingRate": event.rate,
                "fundingTime": str(event.at_ms),
                "instId": listing.symbol,
                "instType": "SWAP",
                "method": "current_period",
                "realizedRate": event.rate,
            }
            for event in reversed(events)
        ]
    )


def _funding_rate(call: Call, world: World) -> Reply:
    if call.query.get("instId") == "ANY":
        chosen = [x for x in world.market.listings("okx") if x.perpetual]
    else:
        chosen = [_perpetual(call, world)]
    return ok([funding_row(listing, world) for listing in chosen])


def funding_row(listing: Listing, world: World) -> dict[str, str]:
    """Funding as it stands now, as REST and stream say it."""
    quote = world.market.quote(listing)
    length = listing.funding_hours * HOUR
    paid = world.market.funding(listing, quote.next_funding_ms - length, quote.next_funding_ms)
    return {
        "formulaType": "withRate",
        "fundingRate": quote.funding,
        "fundingTime": str(quote.next_funding_ms),
        "impactValue": "20000",
        "instId": listing.symbol,
        "instType": "SWAP",
        "interestRate": "0.0001",
        "maxFundingRate": "0.00375",
        "method": "current_period",
        "minFundingRate": "-0.00375",
        "nextFundingRate": "",
        "nextFundingTime": str(quote.next_funding_ms + length),
        "premium": rate(float(quote.mark) / float(quote.index_price) - 1, 10),
        "prevFundingTime": str(quote.next_funding_ms - length),
        "settFundingRate": paid[-1].rate if paid else "",
        "settState": "settled",
        "ts": str(quote.at_ms),
    }


# ---- open interest and ratios


def _open_interest(call: Call, world: World) -> Reply:
    if call.query.get("instType") not in ("SWAP", "FUTURES", "OPTION"):
        raise Refusal(bad("instType"))
    if call.query.get("instId"):
        chosen = [_perpetual(call, world)]
    else:
        chosen = [x for x in world.market.listings("okx") if x.perpetual and call.query["instType"] == "SWAP"]
    return ok([interest_row(listing, world) for listing in chosen])


def interest_row(listing: Listing, world: World) -> dict[str, str]:
    """Open interest now, as REST and stream say it."""
    now = world.now()
    held = world.market.interest(listing, 1, now, now + 1)[-1]
    return {
        "instId": listing.symbol,
        "instType": "SWAP",
        "oi": held.contracts,
        "oiCcy": held.base,
        "oiUsd": held.usd,
        "ts": str(now),
    }


def _statistics(rows_of: Callable[[Listing, int, int, int, Call, World], list[list[str]]]) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        listing = _perpetual(call, world)
        name = call.query.get("period", "5m")
        step = _PERIODS.get(name.removesuffix("utc"))
        if step is None:
            raise Refusal(bad("period"))
        limit = limit_of(call.query, 100, 100, bad)
        begin, end = integer(call.query, "begin", bad), integer(call.query, "end", bad)
        now = world.now()
        last = min(end if end is not None else now, now)
        first = max(begin if begin is not None else 0, last - limit * step, now - _RECENT_BARS * step)
        return ok(rows_of(listing, step, first, last + 1, call, world)[::-1][:limit])

    return handle


def _interest_rows(listing: Listing, step: int, start: int, end: int, call: Call, world: World) -> list[list[str]]:
    return [
        [str(held.at_ms), held.contracts, held.base, held.usd]
        for held in world.market.interest(listing, step, start, end)
    ]


def _ratio_rows(kind: str) -> Callable[[Listing, int, int, int, Call, World], list[list[str]]]:
    def rows(listing: Listing, step: int, start: int, end: int, call: Call, world: World) -> list[list[str]]:
        return [[str(r.at_ms), r.ratio] for r in world.market.ratios(listing, kind, step, start, end)]

    return rows


def _taker_rows(listing: Listing, step: int, start: int, end: int, call: Call, world: World) -> list[list[str]]:
    unit = call.query.get("unit", "1")
    if unit not in ("0", "1", "2"):
        raise Refusal(bad("unit"))
    rows = []
    for ratio in world.market.ratios(listing, "taker_volume", step, start, end):
        factor = 1.0
        if unit != "0":
            price = float(world.market.mark_at(listing, ratio.at_ms))
            contract = float(listing.contract)
            in_contracts = price / contract if listing.inverse else 1 / contract
            factor = in_contracts if unit == "1" else price
        sell, buy = (value if unit == "0" else rate(float(value) * factor, 4) for value in (ratio.short, ratio.long))
        rows.append([str(ratio.at_ms), sell, buy])
    return rows


# ---- tickers and metadata


def _instruments(call: Call, world: World) -> Reply:
    kind = call.query.get("instType", "")
    if kind not in ("SPOT", "MARGIN", "SWAP", "FUTURES", "OPTION", "EVENTS"):
        raise Refusal(bad("instType"))
    rows = [_instrument(x) for x in world.market.listings("okx") if x.market == _TYPES.get(kind)]
    return ok([row for row in rows if call.query.get("instId", row["instId"]) == row["instId"]])


def _instrument(listing: Listing) -> dict[str, Any]:
    swap = listing.perpetual
    return {
        "alias": "",
        "baseCcy": "" if swap else listing.base,
        "category": "1",
        "ctMult": "1" if swap else "",
        "ctType": ("inverse" if listing.inverse else "linear") if swap else "",
        "ctVal": listing.contract if swap else "",
        "ctValCcy": ("USD" if listing.inverse else listing.base) if swap else "",
        "expTime": "",
        "instFamily": f"{listing.base}-{listing.quote}" if swap else "",
        "instId": listing.symbol,
        "instType": "SWAP" if swap else "SPOT",
        "lever": "100" if swap else "10",
        "listTime": str(listing.since),
        "lotSz": ("1" if listing.inverse else "0.01") if swap else listing.lot,
        "maxLmtSz": "9999999999",
        "maxMktSz": "1000000",
        "minSz": ("1" if listing.inverse else "0.01") if swap else listing.lot,
        "optType": "",
        "quoteCcy": "" if swap else listing.quote,
        "ruleType": "normal",
        "settleCcy": listing.settle if swap else "",
        "state": "live",
        "stk": "",
        "tickSz": listing.tick,
        "uly": f"{listing.base}-{listing.quote}" if swap else "",
    }


def _ticker(call: Call, world: World) -> Reply:
    return ok([ticker_row(find_listing(call, world), world)])


def _tickers(call: Call, world: World) -> Reply:
    market = _TYPES.get(call.query.get("instType", ""))
    if market is None:
        raise Refusal(bad("instType"))
    return ok([ticker_row(x, world) for x in world.market.listings("okx") if x.market == market])


def ticker_row(listing: Listing, world: World) -> dict[str, str]:
    """A day's ticker, as REST and stream say it."""
    quote = world.market.quote(listing)
    day = world.market.bars(listing, HOUR, quote.at_ms - 24 * HOUR, quote.at_ms)
    base = sum(float(bar.base) for bar in day)
    native = sum(float(bar.contracts) for bar in day)
    turnover = sum(float(bar.quote) for bar in day)
    size = "1" if listing.perpetual else listing.lot
    return {
        "instType": "SWAP" if listing.perpetual else "SPOT",
        "instId": listing.symbol,
        "last": quote.last,
        "lastSz": size,
        "askPx": quote.ask,
        "askSz": size,
        "bidPx": quote.bid,
        "bidSz": size,
        "open24h": day[0].open,
        "high24h": max((bar.high for bar in day), key=float),
        "low24h": min((bar.low for bar in day), key=float),
        "volCcy24h": rate(base if listing.perpetual else turnover),
        "vol24h": rate(native if listing.perpetual else base),
        "ts": str(quote.at_ms),
        "sodUtc0": day[0].open,
        "sodUtc8": day[0].open,
    }


def _mark_price(call: Call, world: World) -> Reply:
    chosen = (
        [_perpetual(call, world)]
        if call.query.get("instId")
        else [x for x in world.market.listings("okx") if x.perpetual]
    )
    now = str(world.now())
    return ok(
        [{"instId": x.symbol, "instType": "SWAP", "markPx": world.market.quote(x).mark, "ts": now} for x in chosen]
    )


def _time(call: Call, world: World) -> Reply:
    return ok([{"ts": str(world.now())}])


def _route(path: str, handler: Handler) -> Route:
    return Route(HOST, f"/api/v5/{path}", handler)


ROUTES = (
    _route("market/candles", _candles(recent_only=True)),
    _route("market/history-candles", _candles(recent_only=False)),
    _route("market/ticker", _ticker),
    _route("market/tickers", _tickers),
    _route("public/time", _time),
    _route("public/instruments", _instruments),
    _route("public/funding-rate", _funding_rate),
    _route("public/funding-rate-history", _funding_history),
    _route("public/open-interest", _open_interest),
    _route("public/mark-price", _mark_price),
    _route("rubik/stat/contracts/open-interest-history", _statistics(_interest_rows)),
    _route("rubik/stat/taker-volume-contract", _statistics(_taker_rows)),
    *(_route(f"rubik/stat/contracts/{name}", _statistics(_ratio_rows(kind))) for name, kind in _RATIOS.items()),
)
