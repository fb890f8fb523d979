"""Kraken: past trades of spot by a cursor in nanoseconds, oldest first, and of futures before a time, newest first."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Raw

from coinswarm.sandbox.exchanges._parameters import iso_micro, limit_of, uuid_of
from coinswarm.sandbox.exchanges.kraken import (
    FUTURES,
    SPOT,
    find_contract,
    find_pair,
    futures_error,
    invalid,
    key_of,
)
from coinswarm.sandbox.market.numbers import padded, split
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, Refusal, Reply, Route, World, json_reply

_LARGEST = 1000
_FUTURES_PAGE = 100


def uid(tape: Tape, trade: Trade) -> str:
    """The name of a trade of Kraken Futures."""
    return uuid_of("kraken", tape.listing.symbol, trade.id)


def kind(tape: Tape, trade: Trade) -> str:
    """Why there was a trade of Kraken Futures."""
    return "liquidation" if tape.forced(trade) else "fill"


def _spot_trades(call: Call, world: World) -> Reply:
    if not call.query.get("pair"):
        raise Refusal(invalid("pair"))
    tape = world.market.tape(find_pair(call.query["pair"], world))
    since, limit = _since(call), limit_of(call.query, _LARGEST, _LARGEST, invalid, "count")
    last = tape.count_before((world.now() + 1) * 1000)
    # The cursor is excluded.
    first = last - limit + 1 if since is None else tape.count_before(since // 1000 + 1) + 1
    trades = list(tape.take(first, min(last, max(first, 1) + limit - 1)))
    digits = split(tape.listing.tick)[1]
    cursor = str(trades[-1].at_us * 1000) if trades else str(since or 0)
    rows = [_spot_row(tape, trade, digits) for trade in trades]
    return json_reply({"error": [], "result": {key_of(call, tape.listing): rows, "last": cursor}})


def _since(call: Call) -> int | None:
    text = call.query.get("since", "")
    # Nanoseconds, or the seconds of older clients.
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 19):
        raise Refusal(invalid("since"))
    return int(text) if len(text) > 12 else int(text) * 1_000_000_000


def _spot_row(tape: Tape, trade: Trade, digits: int) -> list[Any]:
    return [
        padded(tape.price(trade.price), digits),
        padded(tape.size(trade.lots), 8),
        Raw(f"{trade.at_us // 1_000_000}.{trade.at_us % 1_000_000:06d}000".encode()),
        "b" if trade.buy else "s",
        "m",
        "",
        trade.id,
    ]


def _history(call: Call, world: World) -> Reply:
    listing = find_contract(call.query.get("symbol", ""), world)
    if listing is None:
        return futures_error("contractNotFound" if call.query.get("symbol") else "requiredArgumentMissing", world)
    tape = world.market.tape(listing)
    before = call.query.get("lastTime", "")
    until = (world.now() + 1) * 1000
    if before:
        try:
            until = min(until, round(datetime.fromisoformat(before).timestamp() * 1_000_000))
        except (ValueError, OverflowError):
            return futures_error("invalidArgument", world)
    last = tape.count_before(until)
    rows = [
        {
            "time": iso_micro(trade.at_us)[:-4] + "Z",
            "trade_id": trade.id,
            "price": Raw(tape.price(trade.price).encode()),
            "size": Raw(tape.size(trade.lots).encode()),
            "side": "buy" if trade.buy else "sell",
            "type": kind(tape, trade),
            "uid": uid(tape, trade),
        }
        for trade in tape.take(last - _FUTURES_PAGE + 1, last)
    ]
    served = iso_micro(world.now() * 1000)[:-4] + "Z"
    return json_reply({"result": "success", "history": rows[::-1], "serverTime": served})


ROUTES = (
    Route(SPOT, "/0/public/Trades", _spot_trades),
    Route(FUTURES, "/derivatives/api/v3/history", _history),
)
