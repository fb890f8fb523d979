"""Deribit: past trades of perpetuals by number or time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Raw

from coinswarm.sandbox.exchanges._parameters import FOREVER, integer, limit_of
from coinswarm.sandbox.exchanges.deribit import find_perpetual, moment_asked, ok, refusal, route
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, Handler, Reply, World

_LARGEST = 1000
_ORDERS = ("asc", "desc", "default")


def trade_rows(tape: Tape, trades: Iterable[Trade], world: World) -> list[dict[str, Any]]:
    """Trades, as REST and stream say them; mark and index are those of the second."""
    listing, rows = tape.listing, []
    prices: dict[int, tuple[Raw, Raw]] = {}
    before = 0
    for trade in trades:
        second = trade.at_ms // 1000 * 1000
        if second not in prices:
            prices[second] = (
                Raw(world.market.mark_at(listing, second).encode()),
                Raw(world.market.index_price(listing.base, "USD", second).encode()),
            )
        mark, index = prices[second]
        row: dict[str, Any] = {
            "trade_seq": trade.id,
            "trade_id": str(trade.id) if listing.base == "BTC" else f"{listing.base}-{trade.id}",
            "timestamp": trade.at_ms,
            "tick_direction": 0 if trade.price > before else 2 if trade.price < before else 1,
            "price": Raw(tape.price(trade.price).encode()),
            "mark_price": mark,
            "instrument_name": listing.symbol,
            "index_price": index,
            "direction": "buy" if trade.buy else "sell",
            "contracts": Raw(f"{trade.lots}.0".encode()),
            "amount": Raw(f"{trade.lots * int(listing.contract)}.0".encode()),
        }
        if tape.forced(trade):
            row["liquidation"] = "T"
        rows.append(row)
        before = trade.price
    return rows


def _page(call: Call, world: World, first: int, last: int) -> Reply:
    tape = world.market.tape(find_perpetual(call, world))
    limit = limit_of(call.query, 10, _LARGEST, lambda what: refusal(world, "must be an integer", what).reply, "count")
    order = call.query.get("sorting", "default")
    if order not in _ORDERS:
        raise refusal(world, "value is not one of the allowed", "sorting")
    first = max(1, first)
    more = last - first + 1 > limit
    # Ascending pages begin at the oldest, others at the newest.
    if order == "asc":
        trades = list(tape.take(first, min(last, first + limit - 1)))
    else:
        trades = list(tape.take(max(first, last - limit + 1), last))[::-1]
    return ok({"trades": trade_rows(tape, trades, world), "has_more": more}, world)


def _by_number(call: Call, world: World) -> Reply:
    tape = world.market.tape(find_perpetual(call, world))
    count = tape.count_before((world.now() + 1) * 1000)
    first, last = (_optional(call, world, name) for name in ("start_seq", "end_seq"))
    start, end = (_optional(call, world, name) for name in ("start_timestamp", "end_timestamp"))
    low = max(first or 1, tape.count_before((start or 0) * 1000) + 1)
    high = min(count, last if last is not None else FOREVER)
    if end is not None:
        high = min(high, tape.count_before((end + 1) * 1000))
    return _page(call, world, low, high)


def _by_time(call: Call, world: World) -> Reply:
    tape = world.market.tape(find_perpetual(call, world))
    start, end = moment_asked(call, world, "start_timestamp"), moment_asked(call, world, "end_timestamp")
    first = tape.count_before(start * 1000) + 1
    return _page(call, world, first, tape.count_before((min(end, world.now()) + 1) * 1000))


def _optional(call: Call, world: World, name: str) -> int | None:
    return integer(call.query, name, lambda what: refusal(world, "must be an integer", what).reply)


_HANDLERS: dict[str, Handler] = {
    "get_last_trades_by_instrument": _by_number,
    "get_last_trades_by_instrument_and_time": _by_time,
}
ROUTES = tuple(route(name, handler) for name, handler in _HANDLERS.items())
