"""What a pump asks over REST, in threads of their own: a book, whether there were trades, and the latest ones."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from coinswarm.connections import Connection
from coinswarm.datasets.records import Record
from coinswarm.errors import CoinswarmError, UserError
from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.model import Trade
from coinswarm.timeframes import milliseconds

if TYPE_CHECKING:
    from coinswarm.sources.fetch import Fetcher
    from coinswarm.sources.http import HttpClient
    from coinswarm.sources.trade_history import TradeHistory

_SINCE = timedelta(minutes=2)


class Rest:
    """REST interface of one venue; never blocks the loop."""

    def __init__(self, slug: str, connection: Connection) -> None:
        self._slug = slug
        self._connection = connection
        # Not the loop's own pool: others in this process must not wait for a venue that hangs.
        self._pool = ThreadPoolExecutor(2, thread_name_prefix=f"ticks-rest-{slug}")

    async def body(self, url: str) -> bytes:
        """Body at an address of the venue.

        Raises:
            CoinswarmError: no body came.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._client.get(url).body)

    async def newer_trade(self, symbol: str, last: int) -> bool | None:
        """Whether the venue knows a trade with a higher number than `last`; None if it cannot be asked that.

        Raises:
            CoinswarmError: no answer came.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._newer_trade, symbol, last)

    async def latest_trades(self, symbol: str) -> list[Trade]:
        """The newest trades that the venue gives, oldest first; empty if it gives none without being told a number.

        Raises:
            CoinswarmError: no answer came.
        """
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._latest_trades, symbol)

    def close(self) -> None:
        """Start nothing new; a request that is under way is not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    @cached_property
    def _client(self) -> HttpClient:
        from coinswarm.sources import source_named
        from coinswarm.sources.http import HttpClient

        return HttpClient(source_named(self._slug), self._connection)

    @cached_property
    def _fetcher(self) -> Fetcher:
        from coinswarm.sources import source_named
        from coinswarm.sources.fetch import fetcher

        return fetcher(source_named(self._slug), self._connection)

    def _newer_trade(self, symbol: str, last: int) -> bool | None:
        found = self._trades(symbol, last + 1)
        if found is None:
            return None
        history, records = found
        numbers = [history.number(record) for record in records]
        known = [number for number in numbers if number is not None]
        if not known and numbers:
            return None
        return any(number > last for number in known)

    def _latest_trades(self, symbol: str) -> list[Trade]:
        _, records = self._trades(symbol, None) or (None, [])
        return [_trade(record) for record in sorted(records, key=lambda record: record.event_at)]

    def _trades(self, symbol: str, number: int | None) -> tuple[TradeHistory, list[Record]] | None:
        """One page of the last minutes, from a number on if there is one; None if the venue cannot be asked that."""
        from coinswarm.sources.parsing import parse_payload
        from coinswarm.sources.trade_history import Span, trade_history_of

        try:
            instrument = INSTRUMENTS.get(self._slug, symbol)
        except UserError:
            return None
        history, now = trade_history_of(instrument), datetime.now(UTC)
        if history is None:
            return None
        request = history.following(instrument, Span(now - _SINCE, now, number, number), None)
        if request is None:
            return None
        answer = self._fetcher.get(request)
        outcomes = parse_payload(history.parse, answer.body, request.received(answer.received_at))
        return history, [record for record in outcomes if isinstance(record, Record)]


def _trade(record: Record) -> Trade:
    values, native = record.values, record.values.get("size_native")
    return Trade(
        record.symbol,
        f"{values['price']:f}",
        f"{values['size_base']:f}",
        str(values["side"]),
        milliseconds(record.event_at),
        str(values["trade_id"]),
        native="" if native is None else f"{native:f}",
    )


__all__ = ["CoinswarmError", "Rest"]
