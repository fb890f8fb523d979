"""The demo's live ticks: whether every venue is heard, and what of it an agent and a planner see."""

from __future__ import annotations

import asyncio

from coinswarm.cli import output
from coinswarm.clients import CommitteeData
from coinswarm.clients.committee import Snapshot
from coinswarm.connections import resolve
from coinswarm.local.airflow_api import Airflow
from coinswarm.storage import database

# One instrument of each market that has live trades; every venue is in one of them.
SYMBOLS = ("BTC-USD", "BTC-USDT", "BTC-USDT-PERP", "BTC-USD-PERP")
_TICKS = ("symbol", "venue", "last trade", "spread bps", "imbalance", "archived")
_DELTA = ("symbol", "venue", "UTC", "base units", "verified")
_BIN = ("symbol", "side", "UTC", "from", "to", "USD", "liquidations")


def heard(airflow: Airflow, venue: str) -> bool:
    """Whether all live feeds are deferred, and trades of the venue have come."""
    states = airflow.task_states("stream_ticks")
    return set(states) == {"deferred"} and any(venue in snapshot.trades for snapshot in _snapshots())


def liquidated() -> bool:
    """Whether somebody has been liquidated since the feeds began."""
    return any(snapshot.liquidations for snapshot in _snapshots())


def print_ticks() -> None:
    """Print the newest trade and book of every venue, and what the marts say of trades and liquidations."""
    with database.connect(resolve("pg_auditor"), autocommit=True) as connection:
        archived = {
            (source, symbol): count
            for source, symbol, count in connection.execute(
                "SELECT source, symbol, count(*) FROM raw.trades WHERE symbol = ANY(%s) GROUP BY 1, 2", [list(SYMBOLS)]
            )
        }
        deltas = connection.execute(_DELTAS).fetchall()
        bins = connection.execute(_BINS).fetchall()
    rows = [
        (
            snapshot.symbol,
            venue,
            f"{trade.price:,.2f}",
            f"{book.spread_bps:.3f}" if book and book.spread_bps is not None else None,
            f"{book.imbalance:+.3f}" if book and book.imbalance is not None else None,
            f"{archived.get((venue, snapshot.symbol), 0):,}",
        )
        for snapshot in _snapshots()
        for venue, trade in sorted(snapshot.trades.items())
        for book in [snapshot.orderbook.get(venue)]
    ]
    output.table("What a committee agent sees: live ticks", _TICKS, rows)
    output.table("Volume delta, in the marts", _DELTA, deltas)
    output.table("Largest liquidations, newest hour first, in the marts", _BIN, bins)


def _snapshots() -> list[Snapshot]:
    async def take() -> list[Snapshot]:
        async with CommitteeData(resolve("redis_committee")) as data:
            return [await data.snapshot(symbol) for symbol in SYMBOLS]

    return asyncio.run(take())


_DELTAS = """
    SELECT symbol, source, to_char(bucket_at AT TIME ZONE 'UTC', 'HH24:MI'), cvd_delta_base, ticks_verified_fraction
    FROM marts.positioning_by_venue_current
    WHERE cvd_delta_base IS NOT NULL AND symbol IN ('BTC-USD', 'ETH-USD')
    ORDER BY bucket_at DESC, symbol, source
    LIMIT 6
"""
_BINS = """
    SELECT symbol, side, to_char(bucket_at AT TIME ZONE 'UTC', 'HH24:MI'), round(price_low, 2), round(price_high, 2),
        round(notional_usd), liquidation_count
    FROM marts.liquidation_heatmap_current
    WHERE symbol IN ('BTC-USD', 'ETH-USD')
    ORDER BY bucket_at DESC, notional_usd DESC
    LIMIT 6
"""
