"""Trades of a time when nobody listened: noted as gaps, so that the repair fetches them as it fetches any others."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from coinswarm.connections import Resolver
from coinswarm.errors import UserError
from coinswarm.ingest.gaps import REQUESTED, Gap, gap_id_of, open_gap
from coinswarm.ingest.retention import oldest_filled
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sources import source_named
from coinswarm.sources.trade_history import Span, trade_history_of
from coinswarm.storage import database
from coinswarm.timeframes import Window, floor

_HOUR = timedelta(hours=1)


@database.store_errors()
def request_trades(resolve: Resolver, source: str, window: Window, symbols: Iterable[str] = ()) -> int:
    """Ask the next repair for all trades of a window, of the named instruments or of all that the source has.

    A window of more than an hour is a gap for each hour, so that busy ones come piece by piece.

    Returns:
        How many gaps were opened; one that was asked for before is not asked for again.

    Raises:
        UserError: an unknown source or instrument, one that gives no past trades by time, a window that is not over, or
            one that begins earlier than what a repair fills.
        StoreUnavailable: PostgreSQL does not answer.
    """
    if window.end > datetime.now(UTC):
        raise UserError(f"trades are asked for when their time is over, and {window.end.isoformat()} is not")
    source_named(source)
    wanted = tuple(INSTRUMENTS.get(source, symbol) for symbol in symbols) or INSTRUMENTS.of(source)
    given = tuple(instrument for instrument in wanted if _gives_by_time(instrument, window))
    if not given or (symbols and len(given) < len(wanted)):
        without = ", ".join(instrument.symbol for instrument in wanted if instrument not in given)
        raise UserError(f"{source} gives no past trades by time of {without or 'anything'}")
    opened = 0
    with database.connect(resolve("pg_ingest"), autocommit=True) as connection:
        oldest = oldest_filled(connection, datetime.now(UTC))
        if window.start < oldest:
            raise UserError(
                f"trades of {window.start.isoformat()} are too old: raw keeps some days, and is filled from"
                f" {oldest.isoformat()} on"
            )
        for instrument, hour in itertools.product(given, _hours_of(window)):
            limits = hour.start.isoformat(), hour.end.isoformat()
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
                    opened_at=hour.start,
                    closed_at=hour.end,
                    first_missing=None,
                    last_missing=None,
                    missing=None,
                    repaired=0,
                ),
            )
    return opened


def _gives_by_time(instrument: Instrument, window: Window) -> bool:
    history = trade_history_of(instrument)
    return history is not None and history.following(instrument, Span(window.start, window.end), None) is not None


def _hours_of(window: Window) -> list[Window]:
    if window.end - window.start <= _HOUR:
        return [window]
    inner = []
    at = floor(window.start, _HOUR) + _HOUR
    while at < window.end:
        inner.append(at)
        at += _HOUR
    return [Window(*limits) for limits in itertools.pairwise((window.start, *inner, window.end))]
