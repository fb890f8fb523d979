"""The few questions that a pump asks over REST, in threads of their own: a book, and whether there were trades."""

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

if TYPE_CHECKING:
    from coinswarm.sources.fetch import Fetcher
    from coinswarm.sources.http import HttpClient

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
        from coinswarm.sources.parsing import parse_payload
        from coinswarm.sources.trade_history import Span, trade_history_of

        try:
            history = trade_history_of(INSTRUMENTS.get(self._slug, symbol))
        except UserError:
            return None
        if history is None:
            return None
        now = datetime.now(UTC)
        request = history.following(
            INSTRUMENTS.get(self._slug, symbol), Span(now - _SINCE, now, last + 1, last + 1), None
        )
        if request is None:
            return None
        answer = self._fetcher.get(request)
        numbers = [
            history.number(record)
            for record in parse_payload(history.parse, answer.body, request.received(answer.received_at))
            if isinstance(record, Record)
        ]
        known = [number for number in numbers if number is not None]
        if not known and numbers:
            return None
        return any(number > last for number in known)


__all__ = ["CoinswarmError", "Rest"]
