"""Redis killed, restarted with and without its data, and full: no silent loss."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from tests.integration.ticks.exchange import Exchange
from tests.integration.ticks.pumps import KEY, QUICK, client, length, pumping, resolver, until, written
from tests.integration.ticks.servers import CuttingProxy, own_redis

from coinswarm.connections import Connection
from coinswarm.ticks.gaps import Gap
from coinswarm.ticks.pump import PumpState

pytestmark = pytest.mark.integration


async def _trade(exchange: Exchange, count: int) -> None:
    await asyncio.to_thread(exchange.trade, count)


def test_redis_killed_under_load_with_its_data_on_disk_loses_and_repeats_nothing(
    exchange: Exchange, tmp_path: Path
) -> None:
    async def scenario() -> None:
        with own_redis(tmp_path, durable=True) as server:
            async with pumping(resolver(exchange.url, server.connection)) as followed:
                await until(lambda: exchange.listeners)
                for _ in range(4):
                    before = exchange.made
                    trading = asyncio.create_task(_trade(exchange, 3_000))
                    await until(lambda before=before: followed.count("entries") > before + 300)
                    await asyncio.to_thread(server.kill)
                    await trading
                    await followed.reach(PumpState.DEGRADED, followed.states.count(PumpState.RECOVERED) + 1)
                    await asyncio.to_thread(server.start)
                    await until(lambda: length(server.connection) >= exchange.made, "all are written after all")
                assert followed.count("gaps_opened") == 0
                await followed.reach(PumpState.RECOVERED)
            ids = written(server.connection)
            assert sorted(set(ids)) == list(range(1, 12_001))
            assert len(ids) == 12_000 or server.tore_a_transaction

    asyncio.run(scenario())


def test_redis_that_stands_still_stops_the_reading_of_sockets_and_nothing_is_lost(
    exchange: Exchange, tmp_path: Path
) -> None:
    count = 40_000

    async def scenario() -> None:
        settings = replace(
            QUICK,
            buffer_flow_bytes=20_000,
            buffer_low_bytes=5_000,
            buffer_high_bytes=20_000,
            redis_timeout_seconds=60,
            lease_seconds=60,
        )
        with own_redis(tmp_path, durable=False) as server:
            async with pumping(resolver(exchange.url, server.connection), settings) as followed:
                await until(lambda: exchange.listeners)
                server.signal(signal.SIGSTOP)
                trading = asyncio.create_task(_trade(exchange, count))
                await followed.reach(PumpState.DEGRADED)
                frames = followed.count("frames")
                # The venue goes on, and is not read: only TCP still takes what it sends.
                await asyncio.sleep(0.5)
                assert followed.count("frames") - frames < 5_000
                # The mark, and what one reading of the socket brings; all trades are more than eight million bytes.
                assert followed.count("buffered_bytes") < 4_000_000
                server.signal(signal.SIGCONT)
                await trading
                await until(lambda: length(server.connection) == count)
                await followed.reach(PumpState.RECOVERED)
            assert written(server.connection) == list(range(1, count + 1))

    asyncio.run(scenario())


def test_flush_that_happened_while_its_replies_were_lost_is_not_repeated(
    exchange: Exchange, empty_redis: Connection
) -> None:
    proxy = CuttingProxy(empty_redis)

    async def scenario() -> None:
        async with proxy.running(), pumping(resolver(exchange.url, proxy.connection)) as followed:
            await until(lambda: exchange.listeners)
            for number in range(1, 11):
                proxy.armed = True
                await _trade(exchange, 50)
                await until(lambda number=number: proxy.cuts == number, "a flush whose replies are lost")
            await until(lambda: length(empty_redis) >= 500)
            await until(lambda: followed.count("entries") == 500)
            assert followed.count("applied_unseen") == 10
            assert followed.count("gaps_opened") == 0

    asyncio.run(scenario())
    assert written(empty_redis) == list(range(1, 501))


def test_redis_restarted_without_its_data_opens_a_gap_for_what_it_forgot(exchange: Exchange, tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[Gap] = []
        with own_redis(tmp_path, durable=False) as server:
            async with pumping(resolver(exchange.url, server.connection)) as followed:
                followed.pump._gaps._tell = told.append
                await until(lambda: exchange.listeners)
                await _trade(exchange, 100)
                await until(lambda: length(server.connection) == 100)
                await asyncio.to_thread(server.kill)
                await _trade(exchange, 50)
                await asyncio.to_thread(server.start)
                await until(lambda: length(server.connection) == 50, "what waited is written")
            assert written(server.connection) == list(range(101, 151))
        trades = [gap for gap in told if gap.channel == "trades"]
        assert [(gap.reason, gap.last_missing, gap.state) for gap in trades] == [("redis", "100", "open")]

    asyncio.run(scenario())


def _fill(redis_client: redis.Redis) -> list[str]:
    """Fill Redis, again and again until it has given back what it keeps for its clients, too."""
    keys: list[str] = []
    idle = 0
    while idle < 4:
        before = len(keys)
        for size in (200_000, 20_000, 2_000, 200):
            with contextlib.suppress(redis.exceptions.OutOfMemoryError):
                while True:
                    redis_client.set(f"filler:{len(keys)}", "x" * size)
                    keys.append(f"filler:{len(keys)}")
        idle = idle + 1 if len(keys) == before else 0
        time.sleep(0.5)
    return keys


def test_redis_that_is_full_takes_what_waited_once_there_is_room(exchange: Exchange, tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = replace(QUICK, lease_seconds=1.0)
        with own_redis(tmp_path, durable=False, maxmemory="8mb") as server:
            with client(server.connection) as redis_client:
                async with pumping(resolver(exchange.url, server.connection), settings) as followed:
                    await until(lambda: exchange.listeners)
                    await _trade(exchange, 10)
                    await until(lambda: length(server.connection) == 10)
                    fillers = await asyncio.to_thread(_fill, redis_client)
                    await _trade(exchange, 20_000)
                    await until(lambda: any("OOM" in change.reason for change in followed.changes))
                    token = followed.count("token")
                    # Longer than the lease: it is held although nothing can be written.
                    await asyncio.sleep(1.5)
                    assert length(server.connection) < 20_010
                    redis_client.delete(*fillers)
                    await followed.reach(PumpState.RECOVERED)
                    await until(lambda: length(server.connection) == 20_010)
                    assert followed.count("token") == token
                    assert followed.count("gaps_opened") == 0
            assert written(server.connection) == list(range(1, 20_011))

    asyncio.run(scenario())


def test_pump_that_ends_while_redis_is_away_says_what_it_could_not_write(exchange: Exchange, tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[Gap] = []
        with own_redis(tmp_path, durable=True) as server:
            async with pumping(resolver(exchange.url, server.connection)) as followed:
                followed.pump._gaps._tell = told.append
                await until(lambda: exchange.listeners)
                await _trade(exchange, 10)
                await until(lambda: length(server.connection) == 10)
                await asyncio.to_thread(server.kill)
                away_ms = time.time_ns() // 1_000_000
                await _trade(exchange, 7)
                await until(lambda: followed.count("frames") >= 18)
            await asyncio.to_thread(server.start)
        (gap,) = [gap for gap in told if gap.channel == "trades"]
        assert (gap.reason, gap.first_missing, gap.last_missing, gap.missing) == ("redis", "11", "17", 7)
        assert gap.opened_ms <= away_ms

    asyncio.run(scenario())


def test_entries_of_a_key_that_is_no_stream_are_a_gap_and_those_of_others_are_written(
    exchange: Exchange, empty_redis: Connection
) -> None:
    async def scenario() -> None:
        told: list[Gap] = []
        async with pumping(resolver(exchange.url, empty_redis)) as followed:
            followed.pump._gaps._tell = told.append
            await until(lambda: exchange.listeners)
            with client(empty_redis) as redis_client:
                redis_client.delete(KEY)
                redis_client.set(KEY, "somebody's")
                await _trade(exchange, 7)
                await until(lambda: followed.count("rejected") == 7)
                redis_client.delete(KEY)
            await until(lambda: len(told) == 2, "its end")
            await _trade(exchange, 3)
            await until(lambda: length(empty_redis) == 3)
        assert [(gap.channel, gap.symbol, gap.reason, gap.state) for gap in told] == [
            ("trades", "BTC-USDT", "redis", "open")
        ] * 2
        assert told[1].closed_ms is not None

    asyncio.run(scenario())
    assert written(empty_redis) == [8, 9, 10]


def test_redis_that_takes_a_connection_and_says_nothing_is_left(exchange: Exchange) -> None:
    async def scenario() -> None:
        async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # The greeting is answered; the request for the lease never is.
            await reader.readuntil(b"SELECT")
            writer.write(b"+OK\r\n+OK\r\n")
            await reader.read()
            writer.close()

        async with await asyncio.start_server(ignore, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            silent = Connection("redis_ticks", host="127.0.0.1", port=port)
            settings = replace(QUICK, connect_timeout_seconds=0.2)
            async with pumping(resolver(exchange.url, silent), settings, live=False) as followed:
                await until(lambda: "Redis does not answer" in followed.pump._problems.get("redis", ""))

    asyncio.run(scenario())
