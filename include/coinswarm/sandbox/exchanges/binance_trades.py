"""Binance: past trades by number or time, oldest first, and the book that its depth streams begin with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from coinswarm.sandbox.exchanges._parameters import FOREVER, limit_of
from coinswarm.sandbox.exchanges.binance import HOSTS, find_listing, illegal, number, time_range
from coinswarm.sandbox.market.model import Listing
from coinswarm.sandbox.market.numbers import padded, split, text
from coinswarm.sandbox.market.trades import Aggregate, Tape, Trade
from coinswarm.sandbox.protocol import Call, Handler, Reply, Route, World, json_reply

_LARGEST = 1000
_DEPTH_LARGEST = {"spot": 5000, "usdm": 1000, "coinm": 1000}


def _count(tape: Tape, world: World) -> int:
    return tape.count_before((world.now() + 1) * 1000)


def _price(listing: Listing, price: str) -> str:
    return padded(price, 8 if listing.market == "spot" else split(listing.tick)[1])


def _size(listing: Listing, size: str) -> str:
    return padded(size, 8 if listing.market == "spot" else split(listing.lot)[1])


def _agg_trades(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        listing = find_listing(call, world, market)
        tape = world.market.tape(listing)
        limit = limit_of(call.query, 500, _LARGEST, illegal)
        start, end = time_range(call)
        first, whole = number(call, "fromId"), tape.complete_aggregates(_count(tape, world))
        if first is None and start is None and end is None:
            first = whole - limit + 1
        if first is not None:
            return json_reply([_order(tape, each) for each in tape.aggregates(first, min(whole, first + limit - 1))])
        # An order is dated by its first trade.
        earliest = tape.count_before((start or 0) * 1000) + 1
        latest = tape.count_before((min(end if end is not None else FOREVER, world.now()) + 1) * 1000)
        first = tape.aggregate_of(earliest)
        if tape.members(first)[0] < earliest:
            first += 1
        last = min(whole, tape.aggregate_of(latest)) if latest else 0
        if start is None:
            first = max(first, last - limit + 1)
        return json_reply([_order(tape, each) for each in tape.aggregates(first, min(last, first + limit - 1))])

    return handle


def _order(tape: Tape, order: Aggregate) -> dict[str, Any]:
    listing = tape.listing
    size = _size(listing, tape.size(order.lots))
    row: dict[str, Any] = {
        "a": order.id,
        "p": _price(listing, tape.price(order.price)),
        "q": size,
        "f": order.first,
        "l": order.last,
        "T": order.at_ms,
        "m": not order.buy,
    }
    row["M" if listing.market == "spot" else "nq"] = True if listing.market == "spot" else size
    return row


def _trades(market: str, *, past: bool) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        tape = world.market.tape(find_listing(call, world, market))
        limit = limit_of(call.query, 500, _LARGEST, illegal)
        last = _count(tape, world)
        first = number(call, "fromId") if past else None
        if first is None:
            first = last - limit + 1
        return json_reply(_rows(tape, tape.take(first, min(last, first + limit - 1))))

    return handle


def _rows(tape: Tape, trades: Iterable[Trade]) -> list[dict[str, Any]]:
    listing = tape.listing
    rows = []
    for trade in trades:
        row = {
            "id": trade.id,
            "price": _price(listing, tape.price(trade.price)),
            "qty": _size(listing, tape.size(trade.lots)),
            **_turnover(tape, trade),
            "time": trade.at_ms,
            "isBuyerMaker": not trade.buy,
        }
        rows.append(row | {"isBestMatch": True} if listing.market == "spot" else row)
    return rows


def _turnover(tape: Tape, trade: Trade) -> dict[str, str]:
    listing = tape.listing
    (tick, tick_digits), (lot, lot_digits) = split(listing.tick), tape.lot
    if listing.inverse:
        price = trade.price * tick / 10**tick_digits
        return {"baseQty": f"{trade.lots * int(listing.contract) / price:.8f}"}
    quote = text(trade.price * tick * trade.lots * lot, tick_digits + lot_digits)
    return {"quoteQty": padded(quote, 8) if listing.market == "spot" else quote}


def _depth(market: str) -> Handler:
    def handle(call: Call, world: World) -> Reply:
        listing = find_listing(call, world, market)
        book, tape = world.market.book(listing), world.market.tape(listing)
        limit = limit_of(call.query, 100 if market == "spot" else 500, _DEPTH_LARGEST[market], illegal)
        slot = book.slot(world.now())
        sides = {
            side: [[_price(listing, tape.price(price)), _size(listing, tape.size(lots))] for price, lots in levels]
            for side, levels in zip(("bids", "asks"), (x[:limit] for x in book.levels(slot)), strict=True)
        }
        head: dict[str, Any] = {"lastUpdateId": book.number(slot)}
        if market != "spot":
            head |= {"E": world.now(), "T": book.moment(slot)}
        return json_reply(head | sides)

    return handle


ROUTES = tuple(
    route
    for host, prefix, market in HOSTS
    for route in (
        Route(host, f"{prefix}/aggTrades", _agg_trades(market)),
        Route(host, f"{prefix}/trades", _trades(market, past=False)),
        Route(host, f"{prefix}/historicalTrades", _trades(market, past=True)),
        Route(host, f"{prefix}/depth", _depth(market)),
    )
)
