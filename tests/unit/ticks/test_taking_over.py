"""When a socket has heard enough to follow another one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from coinswarm.connections import Connection
from coinswarm.ticks.book_keeper import BookCounters
from coinswarm.ticks.feeds import Feeds
from coinswarm.ticks.gaps import Gaps
from coinswarm.ticks.model import Trade
from coinswarm.ticks.session import Link, Session, SessionCounters
from coinswarm.ticks.settings import TickSettings
from coinswarm.ticks.shards import connections_of

pytestmark = pytest.mark.unit


def _link(shard: str) -> Link:
    (venue,) = connections_of(shard)
    settings, writer = TickSettings(warm_up_seconds=3600), SimpleNamespace(pending=[])
    feeds = Feeds(venue.slug, venue.streams, settings, cast(Any, writer), Gaps(lambda gap: None))
    unused = cast(Any, None)
    session = Session(venue, feeds, settings, Connection("http_x"), unused, unused, SessionCounters(), BookCounters())
    link = Link(session)
    for live in link.books._books.values():
        live.valid = True
    return link


@pytest.mark.parametrize(("shard", "symbols"), [
    ("bybit_spot", ("BTC-USDT", "ETH-USDT")),  # without numbers: what it did not hear, nobody would miss
    ("kraken_spot", ("BTC-USD", "ETH-USD")),
])  # fmt: skip
def test_socket_is_warm_once_each_stream_of_trades_has_spoken(shard: str, symbols: tuple[str, str]) -> None:
    link = _link(shard)
    warm = [link.warm]
    for number, symbol in enumerate(symbols):
        link.hold((Trade(symbol, "1", "1", "buy", 1, str(number)),), 2)
        warm.append(link.warm)
    assert warm == [False, False, True]
