"""Trades of a time when nobody listened: noted as gaps, so that the repair fetches them as it fetches any others."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from coinswarm.connections import Resolver
from coinswarm.errors import UserError
from coinswarm.ingest.gaps import REQUESTED, Gap, gap_id_of, open_gap
from coinswarm.registry import INSTRUMENTS
from coinswarm.sources import source_named
from coinswarm.sources.trade_history import trade_history_of
from coinswarm.storage import database
from coinswarm.timeframes import Window


@database.store_errors()
def request_trades(resolve: Resolver, source: str, window: Window, symbols: Iterable[str] = ()) -> int:
    """Ask the next repair for all trades of a window, of the named instruments or of all that the source has.

    Returns:
        How many gaps were opened; one that was asked for before is not asked for again.

    Raises:
        UserError: an unknown source or instrument, one without past trades, or a window that is not over.
        StoreUnavailable: PostgreSQL does not answer.
    """
    if window.end > datetime.now(UTC):
        raise UserError(f"trades are asked for when their time is over, and {window.end.isoformat()} is not")
    source_named(source)
    wanted = tuple(INSTRUMENTS.get(source, symbol) for symbol in symbols) or INSTRUMENTS.of(source)
    given = tuple(instrument for instrument in wanted if trade_history_of(instrument) is not None)
    if not given or (symbols and len(given) < len(wanted)):
        without = ", ".join(instrument.symbol for instrument in wanted if instrument not in given)
        raise UserError(f"{source} gives no past trades of {without or 'anything'}")
    opened = 0
    with database.connect(resolve("pg_ingest"), autocommit=True) as connection:
        for instrument in given:
            limits = window.start.isoformat(), window.end.isoformat()
            opened += open_gap(
                connection,
                Gap(
                    gap_id=gap_id_of(REQUESTED, source, instrument.symbol, *limits),
                    revision=1,
                    venue=source,
                    symbol=instrument.symbol,
                    channel="trades",
                    state="open",
                    reason=REQUESTED,
                    opened_at=window.start,
                    closed_at=window.end,
                    first_missing=None,
                    last_missing=None,
                    missing=None,
                    repaired=0,
                ),
            )
    return opened
