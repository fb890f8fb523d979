"""What the market produced, for tests that count: `GET /_control/ticks`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coinswarm.sandbox.market.model import Listing
from coinswarm.sandbox.market.revisions import milliseconds_of
from coinswarm.sandbox.market.trades import Tape
from coinswarm.sandbox.protocol import World

# Provider hosts, streaming or not: venue, and the markets in which a symbol is looked for.
_MARKETS: dict[str, tuple[str, tuple[str, ...]]] = {
    "stream.binance.com": ("binance", ("spot",)),
    "data-stream.binance.vision": ("binance", ("spot",)),
    "api.binance.com": ("binance", ("spot",)),
    "data-api.binance.vision": ("binance", ("spot",)),
    "fstream.binance.com": ("binance", ("usdm",)),
    "fapi.binance.com": ("binance", ("usdm",)),
    "dstream.binance.com": ("binance", ("coinm",)),
    "dapi.binance.com": ("binance", ("coinm",)),
    "advanced-trade-ws.coinbase.com": ("coinbase", ("spot",)),
    "api.coinbase.com": ("coinbase", ("spot",)),
    "api.exchange.coinbase.com": ("coinbase", ("spot",)),
    "ws.kraken.com": ("kraken", ("spot",)),
    "api.kraken.com": ("kraken", ("spot",)),
    "futures.kraken.com": ("kraken", ("futures",)),
    "ws.okx.com": ("okx", ("spot", "swap")),
    "www.okx.com": ("okx", ("spot", "swap")),
    "stream.bybit.com": ("bybit", ("spot", "linear", "inverse")),
    "api.bybit.com": ("bybit", ("spot", "linear", "inverse")),
    "www.deribit.com": ("deribit", ("perpetual",)),
    "streams.deribit.com": ("deribit", ("perpetual",)),
}


def produced(world: World, query: Mapping[str, str]) -> dict[str, Any]:
    """Trades of a listing in `[start, end)`, up to now: first and last number, count and size.

    `symbol` is the venue's name, `market` one of the venue's where a host has several; times are milliseconds or
    ISO 8601. Without `start` it begins at the day's first, without `end` it ends now. `orders` counts aggregate
    trades, whole ones only.

    Raises:
        ValueError: an unknown host or symbol, or a wrong time.
    """
    listing = _listing(world, query.get("host", ""), query.get("symbol", ""), query.get("market", ""))
    tape, now = world.market.tape(listing), world.now()
    start, end = _moment(query.get("start"), now // 86_400_000 * 86_400_000), _moment(query.get("end"), now + 1)
    first, last = tape.count_before(start * 1000) + 1, tape.count_before(min(end, now + 1) * 1000)
    lots = tape.lots_between(first, last)
    return {
        "venue": listing.venue,
        "market": listing.market,
        "symbol": listing.symbol,
        "start_ms": start,
        "end_ms": min(end, now + 1),
        "first_id": first if last >= first else None,
        "last_id": last if last >= first else None,
        "count": max(0, last - first + 1),
        "size": tape.size(lots),
        "contracts": tape.contracts(lots) if listing.perpetual else None,
        "orders": _orders(tape, first, last),
    }


def _orders(tape: Tape, first: int, last: int) -> dict[str, int | None]:
    # Those whose first trade lies within the range, and whose last trade has been.
    begin = tape.complete_aggregates(first - 1) + 1
    if tape.members(begin)[0] < first:
        begin += 1
    end = tape.complete_aggregates(last)
    some = end >= begin
    return {
        "first_id": begin if some else None,
        "last_id": end if some else None,
        "count": max(0, end - begin + 1),
    }


def _listing(world: World, host: str, symbol: str, market: str) -> Listing:
    found = _MARKETS.get(host.partition(":")[0])
    if found is None:
        raise ValueError(f"no trades at host {host[:60]!r}; known: {', '.join(_MARKETS)}")
    venue, markets = found
    for name in (market,) if market else markets:
        listing = world.market.find(venue, name, symbol)
        if listing is not None:
            return listing
    raise ValueError(f"{venue} has no {market} {symbol[:40]!r}".replace("  ", " "))


def _moment(text: str | None, default: int) -> int:
    if not text:
        return default
    return milliseconds_of(int(text) if text.isascii() and text.isdigit() else text)
