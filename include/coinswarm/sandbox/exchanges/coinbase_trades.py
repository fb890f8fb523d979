"""Coinbase: past trades of Advanced by seconds and of Exchange by number, newest first; the side is the maker's."""

from __future__ import annotations

from typing import Any

from coinswarm.sandbox.exchanges._parameters import FOREVER, integer, iso_micro, limit_of
from coinswarm.sandbox.exchanges.coinbase import HOST, PRODUCTS, find_product, invalid
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, Reply, Route, World, json_reply

EXCHANGE_HOST = "api.exchange.coinbase.com"
_LARGEST = 1000


def trade_row(tape: Tape, trade: Trade) -> dict[str, str]:
    """One trade, as Advanced says it over REST and in streams: whoever waited in the book is its side."""
    return {
        "trade_id": str(trade.id),
        "product_id": tape.listing.symbol,
        "price": tape.price(trade.price),
        "size": tape.size(trade.lots),
        "time": iso_micro(trade.at_us),
        "side": "SELL" if trade.buy else "BUY",
    }


def _ticker(call: Call, world: World) -> Reply:
    tape = world.market.tape(find_product(call, world))
    limit = limit_of(call.query, 100, _LARGEST, invalid)
    start, end = integer(call.query, "start", invalid), integer(call.query, "end", invalid)
    now = world.now()
    first = tape.count_before((start or 0) * 1_000_000) + 1
    last = tape.count_before(min((end if end is not None else FOREVER) * 1000, now + 1) * 1000)
    rows = [trade_row(tape, trade) for trade in tape.take(max(first, last - limit + 1), last)][::-1]
    levels = world.market.book(tape.listing).levels(world.market.book(tape.listing).slot(now))
    best = {
        name: tape.price(side[0][0]) if side else ""
        for name, side in (("best_bid", levels.bids), ("best_ask", levels.asks))
    }
    return json_reply({"trades": rows, **best})


def _exchange_trades(call: Call, world: World) -> Reply:
    tape = world.market.tape(find_product(call, world))
    limit = limit_of(call.query, 1000, _LARGEST, invalid)
    older_than, newer_than = integer(call.query, "after", invalid), integer(call.query, "before", invalid)
    last = tape.count_before((world.now() + 1) * 1000)
    if older_than is not None:
        last = min(last, older_than - 1)
    first = max(1, last - limit + 1, (newer_than or 0) + 1)
    rows = [_exchange_row(tape, trade) for trade in tape.take(first, last)][::-1]
    pages = {"cb-before": str(rows[0]["trade_id"]), "cb-after": str(rows[-1]["trade_id"])} if rows else {}
    return json_reply(rows, headers=pages)


def _exchange_row(tape: Tape, trade: Trade) -> dict[str, Any]:
    row: dict[str, Any] = trade_row(tape, trade)
    return {
        "trade_id": trade.id,
        "side": row["side"].lower(),
        "size": row["size"],
        "price": row["price"],
        "time": row["time"],
    }


ROUTES = (
    Route(HOST, f"{PRODUCTS}/{{product_id}}/ticker", _ticker),
    Route(EXCHANGE_HOST, "/products/{product_id}/trades", _exchange_trades),
)
