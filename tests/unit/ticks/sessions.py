"""A venue's session without a socket, its gaps in a list, and what it would write in another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from coinswarm.connections import Connection
from coinswarm.ticks.book_keeper import BookCounters
from coinswarm.ticks.feeds import Feeds
from coinswarm.ticks.gaps import Gap, Gaps
from coinswarm.ticks.session import Session, SessionCounters
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.shards import connections_of


class Host:
    """A pump that writes."""

    writing = True

    def session_changed(self, name: str, problem: str) -> None:
        """Not looked at."""

    def keep_malformed(self, name: str, frame: bytes, error: str) -> None:
        """Not looked at."""


def session_of(shard: str, index: int = 0, **settings: Any) -> tuple[Session, list[Gap]]:
    """The session of a shard's n-th connection, and the revisions of gaps that it tells."""
    venue, chosen, told = connections_of(shard)[index], TickSettings(**settings), []
    writer = SimpleNamespace(pending=[], idle=False)
    gaps = Gaps(cast("list[Gap]", told).append)
    feeds = Feeds(venue.slug, venue.streams, chosen, cast("Any", writer), gaps)
    http, rest = Connection("http_x"), cast("Any", None)
    return Session(venue, feeds, chosen, http, rest, Host(), SessionCounters(), BookCounters()), told
