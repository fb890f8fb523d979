"""One pump, one venue, one Redis: everything arrives once, and what did not is known."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import pytest
from tests.integration.ticks.exchange import Exchange
from tests.integration.ticks.pumps import QUICK, client, length, pumping, resolver, until, written

from coinswarm.connections import Connection
from coinswarm.ticks.gaps import Gap
from coinswarm.ticks.pump import PumpState

pytestmark = pytest.mark.integration


async def _trade(exchange: Exchange, count: int = 1, *, hidden: bool = False) -> None:
    await asyncio.to_thread(exchange.trade, count, hidden=hidden)


async def _listened_to(exchange: Exchange) -> None:
    await until(lambda: exchange.listeners, "somebody subscribes")


def _gaps(followed) -> list[Gap]:  # type: ignore[no-untyped-def]
    told: list[Gap] = []
    tell = followed.pump._gaps._tell
    followed.pump._gaps._tell = lambda gap: (told.append(gap), tell(gap))
    return told


def test_pump_under_load_writes_every_trade_once_and_in_order(exchange: Exchange, empty_redis: Connection) -> None:
    async def scenario() -> None:
        async with pumping(resolver(exchange.url, empty_redis)):
            await _listened_to(exchange)
            await _trade(exchange, 20_000)
            await until(lambda: length(empty_redis) >= 20_000, "all trades in Redis")

    asyncio.run(scenario())
    assert written(empty_redis) == list(range(1, 20_001))
    with client(empty_redis) as redis_client:
        _, first = redis_client.xrange("trades:BTC-USDT", count=1)[0]
        assert set(first) == {"venue", "price", "size", "side", "ts", "id", "recv"}
        assert (first["venue"], first["price"], first["size"], first["side"]) == ("binance", "60001.50", "0.002", "buy")
        assert redis_client.hget("latest:trades:binance:BTC-USDT", "id") == "20000"
        assert redis_client.sismember("ticks:streams", "trades:BTC-USDT")
        assert redis_client.hget("ticks:cursor:binance_spot", "binance BTC-USDT") == "20000"
        assert not redis_client.exists("ticks:lease:binance_spot")


def test_flood_that_waits_in_the_socket_is_read_in_pieces(exchange: Exchange, empty_redis: Connection) -> None:
    pieces: list[int] = []

    async def scenario() -> None:
        async with pumping(resolver(exchange.url, empty_redis)) as followed:
            await _listened_to(exchange)
            link = followed.pump._parts[0].link
            take = link._take
            link._take = lambda *args: (pieces.__setitem__(-1, pieces[-1] + 1), take(*args))
            trading = asyncio.create_task(_trade(exchange, 60_000))
            while not trading.done() or length(empty_redis) < 60_000:
                pieces.append(0)
                time.sleep(0.1)  # noqa: ASYNC251 - others have their turn, and the socket fills
                await asyncio.sleep(0)

    asyncio.run(scenario())
    assert sum(pieces) >= 60_000
    frame_bytes = 150
    assert max(pieces) <= 2 * QUICK.socket_receive_bytes / frame_bytes  # the system takes twice what it is told to


def test_pump_when_trades_never_come_tells_which(exchange: Exchange, empty_redis: Connection) -> None:
    async def scenario() -> list[Gap]:
        async with pumping(resolver(exchange.url, empty_redis)) as followed:
            told = _gaps(followed)
            await _listened_to(exchange)
            await _trade(exchange, 3)
            await _trade(exchange, 4, hidden=True)
            await _trade(exchange, 1)
            await until(lambda: length(empty_redis) == 4)
            return [gap for gap in told if gap.channel == "trades"]

    (gap,) = asyncio.run(scenario())
    assert (gap.first_missing, gap.last_missing, gap.missing, gap.reason, gap.state) == (
        "4",
        "7",
        4,
        "sequence",
        "open",
    )


def test_pump_after_a_disconnect_says_what_was_missed_meanwhile(exchange: Exchange, empty_redis: Connection) -> None:
    async def scenario() -> list[Gap]:
        async with pumping(resolver(exchange.url, empty_redis)) as followed:
            told = _gaps(followed)
            await _listened_to(exchange)
            await _trade(exchange, 5)
            await until(lambda: length(empty_redis) == 5)
            exchange.deaf = True
            await asyncio.to_thread(exchange.disconnect)
            await followed.reach(PumpState.DEGRADED)
            await _trade(exchange, 6)
            exchange.deaf = False
            await _listened_to(exchange)
            await followed.reach(PumpState.RECOVERED)
            await _trade(exchange, 2)
            await until(lambda: length(empty_redis) == 7)
            return [gap for gap in told if gap.symbol == "BTC-USDT" and gap.channel == "trades"]

    opened, closed = asyncio.run(scenario())
    assert (opened.reason, opened.closed_ms, opened.missing) == ("disconnect", None, None)
    assert (closed.gap_id, closed.revision) == (opened.gap_id, 2)
    assert (closed.first_missing, closed.last_missing, closed.missing) == ("6", "11", 6)
    assert written(empty_redis) == [1, 2, 3, 4, 5, 12, 13]


def test_pump_after_a_disconnect_without_trades_closes_the_gap_with_nothing_missing(
    exchange: Exchange, empty_redis: Connection
) -> None:
    async def scenario() -> list[Gap]:
        async with pumping(resolver(exchange.url, empty_redis)) as followed:
            told = _gaps(followed)
            await _listened_to(exchange)
            await _trade(exchange, 5)
            await until(lambda: length(empty_redis) == 5)
            await asyncio.to_thread(exchange.disconnect)
            await until(lambda: exchange.connections == 2)
            await _listened_to(exchange)
            await _trade(exchange, 1)
            await until(lambda: length(empty_redis) == 6)
            return [gap for gap in told if gap.symbol == "BTC-USDT" and gap.channel == "trades"]

    last = asyncio.run(scenario())[-1]
    assert (last.missing, last.state) == (0, "repaired")


def test_pump_when_a_stream_freezes_finds_it_by_silence_and_connects_anew(
    exchange: Exchange, empty_redis: Connection
) -> None:
    async def scenario() -> tuple[list[Gap], int]:
        settings = replace(QUICK, liveness=True)
        async with pumping(resolver(exchange.url, empty_redis), settings) as followed:
            told = _gaps(followed)
            for session in followed.pump._parts:
                for watch in session._watches.values():
                    watch.quiet_ms = 400
            await _listened_to(exchange)
            await _trade(exchange, 3)
            await until(lambda: length(empty_redis) == 3)
            exchange.frozen = True
            await _trade(exchange, 2)
            await until(lambda: any(gap.reason == "silence" for gap in told), "the frozen stream is found")
            exchange.frozen = False
            await until(lambda: exchange.connections >= 2, "a new connection")
            await _listened_to(exchange)
            await _trade(exchange, 1)
            await until(lambda: length(empty_redis) >= 4)
            return [gap for gap in told if gap.symbol == "BTC-USDT" and gap.channel == "trades"], followed.count(
                "frozen"
            )

    told, frozen = asyncio.run(scenario())
    assert frozen >= 1
    assert (told[0].reason, told[-1].first_missing, told[-1].last_missing) == ("silence", "4", "5")


def test_pump_before_the_venue_cuts_the_connection_has_another_and_misses_nothing(
    exchange: Exchange, empty_redis: Connection
) -> None:
    async def scenario() -> tuple[int, list[Gap]]:
        async with pumping(resolver(exchange.url, empty_redis)) as followed:
            (session,) = followed.pump._parts
            session.venue.lifetime_seconds = 3.0
            told = _gaps(followed)
            await _listened_to(exchange)
            exchange.cut_after = 3.0
            await asyncio.to_thread(exchange.disconnect)  # the first socket did not know of the short lifetime
            await until(lambda: exchange.connections == 2)
            await _listened_to(exchange)
            while followed.count("rollovers") < 3:
                await _trade(exchange, 10)
                await asyncio.sleep(0.01)
            await until(lambda: length(empty_redis) == exchange.made, "every trade over three sockets")
            return followed.count("rollovers"), [gap for gap in told if gap.channel == "trades" and gap.missing]

    rollovers, gaps = asyncio.run(scenario())
    assert rollovers >= 3
    assert gaps == []
    assert written(empty_redis) == list(range(1, exchange.made + 1))


def test_pump_keeps_malformed_frames_and_goes_on(exchange: Exchange, empty_redis: Connection) -> None:
    async def scenario() -> int:
        async with pumping(resolver(exchange.url, empty_redis)) as followed:
            await _listened_to(exchange)
            for number in range(120):
                await asyncio.to_thread(exchange.say, f'{{"stream":"btcusdt@trade","data":{{"t":{number}}}}}')
            await asyncio.to_thread(exchange.say, "x" * 5000)
            await _trade(exchange, 1)
            await until(lambda: length(empty_redis) == 1)
            return followed.count("malformed")

    assert asyncio.run(scenario()) == 121
    with client(empty_redis) as redis_client:
        kept = redis_client.xrange("ticks:malformed")
        assert len(kept) == 100
        assert kept[-1][1]["frame"] == "x" * 2048
        assert kept[-1][1]["bytes"] == "5000"


def test_pump_publishes_a_book_once_it_is_built_and_not_while_it_is_broken(
    exchange: Exchange, empty_redis: Connection
) -> None:
    key = "orderbook:BTC-USDT:snapshot"

    async def scenario() -> list[Gap]:
        settings = replace(QUICK, book_seconds=0.01)
        async with pumping(resolver(exchange.url, empty_redis), settings) as followed:
            told = _gaps(followed)
            await _listened_to(exchange)
            await asyncio.to_thread(exchange.depth)
            await until(lambda: length(empty_redis, key) >= 1, "the first book")
            before = length(empty_redis, key)
            await _trade(exchange, 3)
            await until(lambda: length(empty_redis) == 3)
            await asyncio.to_thread(exchange.depth, "60000.50")
            await until(lambda: length(empty_redis, key) > before, "a changed book")
            await asyncio.to_thread(exchange.depth, skip=2)
            await until(lambda: followed.count("resyncs") == 1, "the break is seen")
            await asyncio.to_thread(exchange.depth, "60000.70")
            await until(lambda: any(gap.closed_ms for gap in told if gap.channel == "orderbook"), "the book is back")
            return [gap for gap in told if gap.channel == "orderbook"]

    opened, closed = asyncio.run(scenario())
    assert (opened.reason, closed.missing, closed.state) == ("sequence", None, "open")
    with client(empty_redis) as redis_client:
        books = [fields for _, fields in redis_client.xrange(key)]
    second = next(book for book in books if json.loads(book["bids"])[0][0] == "60000.50")
    assert json.loads(second["bids"]) == [["60000.50", "1.000"], ["60000.00", "1.000"], ["59999.00", "2.000"]]
    assert json.loads(second["asks"]) == [["60001.00", "1.000"], ["60002.00", "2.000"]]
    # (60001.00 - 60000.50) / 60000.75, in bps; four of the seven units are bids.
    assert (second["spread_bps"], second["imbalance"]) == ("0.083332", "0.142857")
    # A better bid of one unit; the ask is as it was.
    assert second["ofi"] == "1"
    # Takers bought 0.002 and 0.004 and sold 0.003.
    assert second["trade_imbalance"] == "0.003"
