"""OKX: past trades, newest first, by number or time."""

from __future__ import annotations

from coinswarm.sandbox.exchanges._parameters import limit_of
from coinswarm.sandbox.exchanges.okx import HOST, bad, between, find_listing, ok
from coinswarm.sandbox.market.trades import Tape, Trade
from coinswarm.sandbox.protocol import Call, Refusal, Reply, Route, World

_RECENT_LARGEST, _PAST_LARGEST = 500, 100
_BY_ID, _BY_TIME = "1", "2"


def size(tape: Tape, lots: int) -> str:
    """A size as OKX counts it: contracts of swaps, base units of spot."""
    return tape.contracts(lots) if tape.listing.perpetual else tape.size(lots)


def trade_row(tape: Tape, trade: Trade) -> dict[str, str]:
    """One trade, as REST and stream say it."""
    return {
        "instId": tape.listing.symbol,
        "tradeId": str(trade.id),
        "px": tape.price(trade.price),
        "sz": size(tape, trade.lots),
        "side": "buy" if trade.buy else "sell",
        "ts": str(trade.at_ms),
        "source": "0",
    }


def _trades(call: Call, world: World) -> Reply:
    tape = world.market.tape(find_listing(call, world))
    limit = limit_of(call.query, 100, _RECENT_LARGEST, bad)
    last = tape.count_before((world.now() + 1) * 1000)
    return ok([trade_row(tape, trade) for trade in tape.take(last - limit + 1, last)][::-1])


def _history(call: Call, world: World) -> Reply:
    tape = world.market.tape(find_listing(call, world))
    limit = limit_of(call.query, 100, _PAST_LARGEST, bad)
    kind = call.query.get("type", _BY_ID)
    if kind not in (_BY_ID, _BY_TIME):
        raise Refusal(bad("type"))
    newer_than, older_than = between(call)
    now = world.now()
    count = tape.count_before((now + 1) * 1000)
    if kind == _BY_ID:
        first, last = newer_than + 1, min(count, older_than - 1)
    else:
        first = tape.count_before((newer_than + 1) * 1000) + 1
        last = tape.count_before(min(older_than, now + 1) * 1000)
    if "before" in call.query and "after" not in call.query:
        # The oldest of what is newer.
        last = min(last, max(first, 1) + limit - 1)
    return ok([trade_row(tape, trade) for trade in tape.take(max(first, last - limit + 1), last)][::-1])


ROUTES = (
    Route(HOST, "/api/v5/market/trades", _trades),
    Route(HOST, "/api/v5/market/history-trades", _history),
)
