"""Bytes that no venue sends: refused by name, never with another error, never as an event."""

from __future__ import annotations

import pytest

from coinswarm.registry import INSTRUMENTS
from coinswarm.ticks.model import BookUpdate, MalformedFrame, Trade, Unknown
from coinswarm.ticks.protocol import Venue
from coinswarm.ticks.venues import (
    binance,
    bybit,
    coinbase,
    deribit,
    kraken,
    kraken_futures,
    legacy_bybit,
    legacy_coinbase,
    legacy_kraken,
    okx,
)

pytestmark = pytest.mark.unit

ALL = list(INSTRUMENTS)
VENUES: list[Venue] = [
    *binance.connections("spot", ALL),
    *binance.connections("usdm", ALL),
    *kraken.connections("spot", ALL),
    *kraken_futures.connections("futures", ALL),
    *okx.connections("okx", ALL),
    *deribit.connections("deribit", ALL),
    *coinbase.connections("spot", ALL)[:1],
    *bybit.connections("spot", ALL),
    *bybit.connections("linear", ALL),
    *legacy_kraken.connections("spot", None),
    *legacy_coinbase.connections("spot", None),
    *legacy_bybit.connections("linear", None),
]
# What makes each of them look closer.
OPENINGS = [
    b'{"stream":"btcusdt@trade","data":',
    b'{"stream":"btcusdt@aggTrade","data":',
    b'{"channel":"trade","type":"update","data":',
    b'{"feed":"trade","product_id":"PF_XBTUSD","uid":',
    b'{"arg":{"channel":"trades-all","instId":"BTC-USDT"},"data":',
    b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms","data":',
    b'{"channel":"market_trades","timestamp":"2026-03-01T12:00:00Z","sequence_num":1,"events":',
    b'{"topic":"publicTrade.BTCUSDT","ts":1,"data":',
    b'{"topic":"orderBookL2_25.BTCUSD","type":"snapshot","data":',
    b'{"type":"match","product_id":"BTC-USD","trade_id":',
    b"[1,",
]


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
@pytest.mark.parametrize("opening", OPENINGS)
@pytest.mark.parametrize(
    "rest",
    [
        b"",
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b"\xff\xfe",
        b"\x00",
        b"NaN}",
        b"9" * 100_000,
        b'"' + b"x" * 100_000,
    ],
    ids=["cut", "brackets", "braces", "no text", "nul", "nan", "digits", "endless"],
)
def test_frame_that_is_no_message_is_refused(venue: Venue, opening: bytes, rest: bytes) -> None:
    with pytest.raises(MalformedFrame) as refused:
        venue.decode(opening + rest)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
@pytest.mark.parametrize("opening", OPENINGS)
def test_text_that_is_no_utf_8_is_refused_or_in_a_message_of_another_kind(venue: Venue, opening: bytes) -> None:
    try:
        events = venue.decode(opening + b'"\xff"}')
    except MalformedFrame:
        return
    assert {type(event) for event in events} == {Unknown}


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
@pytest.mark.parametrize("frame", [b"", b"null", b"7", b'"text"', b"[]", b"true", b"\xef\xbb\xbf{}", b"ping", b"{"])
def test_other_json_is_refused(venue: Venue, frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        venue.decode(frame)


@pytest.mark.parametrize("venue", VENUES, ids=lambda venue: venue.name)
def test_same_frame_gives_the_same_events(venue: Venue) -> None:
    for frame in (b'{"event":"heartbeat"}', b'{"channel":"heartbeat"}', b'{"feed":"x"}'):
        first, second = venue.decode(frame), venue.decode(frame)
        assert list(first) == list(second)
        assert not [event for event in first if isinstance(event, Trade | BookUpdate)]
