"""Bybit: the latest trades, newest first; there is nothing further back."""

from __future__ import annotations

from typing import Any

from coinswarm.sandbox.exchanges._parameters import uuid_of
from coinswarm.sandbox.exchanges.bybit import HOST, category_of, find_listing, limit_asked, ok
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, Reply, Route, World

_SPOT_LARGEST, _LARGEST = 60, 1000
_SPOT_IDS = 2_290_000_000_000_000_000


def trade_id(tape: Tape, trade: Trade) -> str:
    """A number on spot, a UUID on derivatives."""
    listing = tape.listing
    if listing.perpetual:
        return uuid_of("bybit", listing.symbol, trade.id)
    return str(_SPOT_IDS + trade.id)


def sequence(tape: Tape, trade: Trade) -> int:
    """The cross sequence: trades of one order share it."""
    return 10_000_000_000 + tape.aggregate_of(trade.id)


def _recent(call: Call, world: World) -> Reply:
    category = category_of(call, world)
    tape = world.market.tape(find_listing(call, world, category))
    spot = category == "spot"
    limit = limit_asked(call, 60 if spot else 500, _SPOT_LARGEST if spot else _LARGEST, world)
    last = tape.count_before((world.now() + 1) * 1000)
    rows = [_row(tape, trade) for trade in tape.take(last - limit + 1, last)][::-1]
    return ok({"category": category, "list": rows}, world)


def _row(tape: Tape, trade: Trade) -> dict[str, Any]:
    return {
        "execId": trade_id(tape, trade),
        "symbol": tape.listing.symbol,
        "price": tape.price(trade.price),
        "size": tape.size(trade.lots),
        "side": "Buy" if trade.buy else "Sell",
        "time": str(trade.at_ms),
        "isBlockTrade": False,
        "isRPITrade": False,
        "seq": str(sequence(tape, trade)),
    }


ROUTES = (Route(HOST, "/v5/market/recent-trade", _recent),)
