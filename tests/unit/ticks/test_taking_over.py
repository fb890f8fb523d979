"""When a socket has heard enough to follow another one."""

from __future__ import annotations

import pytest
from tests.unit.ticks.sessions import session_of

from coinswarm.ticks.model import Trade
from coinswarm.ticks.session import Link

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(("shard", "symbols"), [
    ("bybit_spot", ("BTC-USDT", "ETH-USDT")),  # without numbers: what it did not hear, nobody would miss
    ("kraken_spot", ("BTC-USD", "ETH-USD")),
])  # fmt: skip
def test_socket_is_warm_once_each_stream_of_trades_has_spoken(shard: str, symbols: tuple[str, str]) -> None:
    session, _ = session_of(shard, warm_up_seconds=3600)
    link = Link(session)
    for live in link.books._books.values():
        live.valid = True
    warm = [link.warm]
    for number, symbol in enumerate(symbols):
        link.hold((Trade(symbol, "1", "1", "buy", 1, str(number)),), 2)
        warm.append(link.warm)
    assert warm == [False, False, True]
