"""Who writes: one pump at a time, whatever the others do."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.ticks.exchange import Exchange
from tests.integration.ticks.pumps import QUICK, SHARD, client, length, pumping, resolver, until, written

from coinswarm.connections import Connection
from coinswarm.ticks import pump as pumps_module
from coinswarm.ticks.gaps import Gap
from coinswarm.ticks.pump import Pump, PumpState

pytestmark = pytest.mark.integration


@contextmanager
def pump_process(exchange_url: str, redis_ticks: Connection) -> Iterator[subprocess.Popen[str]]:
    """`coinswarm ticks run` of the shard in a process of its own, with the lease of production."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_CONN_")}
    env["AIRFLOW_CONN_REDIS_TICKS"] = json.dumps(
        {
            "host": redis_ticks.host,
            "port": redis_ticks.port,
            "login": redis_ticks.login,
            "password": redis_ticks.password,
            "schema": redis_ticks.schema,
        }
    )
    env["AIRFLOW_CONN_HTTP_BINANCE"] = json.dumps({"host": exchange_url, "extra": {"requests_per_second": 100}})
    process = subprocess.Popen(
        [sys.executable, "-m", "coinswarm", "ticks", "run", "--shard", SHARD, "--no-ledger", "--json"],
        env=env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.communicate()


def _said(process: subprocess.Popen[str], state: str) -> dict[str, object]:
    assert process.stdout is not None
    for line in process.stdout:
        change = json.loads(line)
        if change["state"] == state:
            return dict(change)
    raise AssertionError(f"the process ended without {state}")


async def _trade(exchange: Exchange, count: int) -> None:
    await asyncio.to_thread(exchange.trade, count)


def test_hand_over_while_trades_flow_has_no_hole_and_no_duplicate(exchange: Exchange, empty_redis: Connection) -> None:
    async def scenario() -> None:
        resolve = resolver(exchange.url, empty_redis)
        async with pumping(resolve) as first:
            await until(lambda: exchange.listeners == 1)
            flowing = True

            async def flow() -> None:
                while flowing:
                    await _trade(exchange, 5)
                    await asyncio.sleep(0.005)

            source = asyncio.create_task(flow())
            async with pumping(resolve, live=False) as second:
                await second.reach(PumpState.LIVE)
                await first.reach(PumpState.ENDED)
                await _trade(exchange, 20)
                flowing = False
                await source
                await until(lambda: length(empty_redis) >= exchange.made)
                assert second.count("gaps_opened") == 0
                assert second.count("token") == 2
                assert second.changes[1].reason == "taken over"
            assert first.states[-2:] == [PumpState.HANDED_OVER, PumpState.ENDED]

    asyncio.run(scenario())
    assert written(empty_redis) == list(range(1, exchange.made + 1))


def test_pump_that_is_started_again_at_once_takes_nothing_over_and_says_since_when_nobody_listened(
    exchange: Exchange, empty_redis: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        resolve = resolver(exchange.url, empty_redis)
        async with pumping(resolve):
            await until(lambda: exchange.listeners == 1)
            await _trade(exchange, 10)
            await until(lambda: length(empty_redis) == 10)
        again = Pump(SHARD, replace(QUICK, warm_up_seconds=0), resolve)

        async def seed_late(*arguments: Any) -> None:
            # Its sockets are there before it begins: it looks as a successor does.
            await until(lambda: again._warm)

        monkeypatch.setattr(pumps_module, "seed_recent", seed_late)
        told: list[Gap] = []
        async for change in again.run():
            if change.state is PumpState.STARTED:
                again._gaps._tell = told.append
            if change.state is PumpState.LIVE:
                assert change.reason == ""
                stopped = asyncio.create_task(again.stop("the test is over"))
        await stopped
        assert ("trades", "disconnect", True) in [(gap.channel, gap.reason, gap.detail["stopped"]) for gap in told]

    asyncio.run(scenario())


def test_successor_of_a_killed_pump_waits_for_the_lease_and_says_what_was_missed(
    exchange: Exchange, empty_redis: Connection
) -> None:
    async def scenario() -> None:
        with pump_process(exchange.url, empty_redis) as process:
            await asyncio.to_thread(_said, process, "live")
            await until(lambda: exchange.listeners == 1)
            await _trade(exchange, 10)
            await until(lambda: length(empty_redis) == 10)
            process.kill()
        await until(lambda: exchange.listeners == 0)
        await _trade(exchange, 4)
        async with pumping(resolver(exchange.url, empty_redis), live=False) as second:
            await until(lambda: exchange.listeners == 1)
            # Before the lease of the dead one has expired: heard, and kept for later.
            await _trade(exchange, 3)
            await second.reach(PumpState.LIVE)
            await until(lambda: length(empty_redis) == 13)
            (gap,) = second.pump._gaps._holes["binance", "BTC-USDT"]
            assert (gap.reason, gap.first_missing, gap.last_missing) == ("crash", "11", "14")

    asyncio.run(scenario())
    assert written(empty_redis) == [*range(1, 11), 15, 16, 17]


def test_owner_that_dies_before_it_has_begun_leaves_what_the_one_before_it_left(
    exchange: Exchange, empty_redis: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cursor() -> dict[str, str]:
        with client(empty_redis) as redis_client:
            return dict(redis_client.hgetall(f"ticks:cursor:{SHARD}"))

    async def scenario() -> None:
        resolve = resolver(exchange.url, empty_redis)
        async with pumping(resolve):
            await until(lambda: exchange.listeners == 1)
            await _trade(exchange, 10)
            await until(lambda: length(empty_redis) == 10)
        left = cursor()
        assert left["released"] == "1"
        begun = asyncio.Event()

        async def seed_never(*arguments: Any) -> None:
            begun.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(pumps_module, "seed_recent", seed_never)
        async with pumping(resolve, live=False) as second:
            await begun.wait()
            # Longer than the lease, which it holds meanwhile.
            await asyncio.sleep(1.5 * QUICK.lease_seconds)
            assert second.count("token") == 2
            with client(empty_redis) as redis_client:
                assert redis_client.hget(f"ticks:lease:{SHARD}", "token") == "2"
        assert cursor() == left | {"token": "2"}

    asyncio.run(scenario())


def test_pump_that_sleeps_through_its_lease_writes_nothing_when_it_wakes(
    exchange: Exchange, empty_redis: Connection
) -> None:
    async def scenario() -> None:
        with pump_process(exchange.url, empty_redis) as sleeper:
            await asyncio.to_thread(_said, sleeper, "live")
            await until(lambda: exchange.listeners == 1)
            await _trade(exchange, 10)
            await until(lambda: length(empty_redis) == 10)
            sleeper.send_signal(signal.SIGSTOP)
            # It hears these, and would write them when it wakes.
            await _trade(exchange, 5)
            async with pumping(resolver(exchange.url, empty_redis), live=False) as second:
                await until(lambda: exchange.listeners == 2)
                await second.reach(PumpState.LIVE)
                await _trade(exchange, 5)
                await until(lambda: length(empty_redis) == 15)
                sleeper.send_signal(signal.SIGCONT)
                ended = await asyncio.to_thread(_said, sleeper, "ended")
                assert "writes binance_spot now" in str(ended["reason"])
                await _trade(exchange, 5)
                await until(lambda: length(empty_redis) == 20)

    asyncio.run(scenario())
    assert written(empty_redis) == [*range(1, 11), *range(16, 26)]


def test_two_pumps_that_start_at_once_never_both_write(exchange: Exchange, empty_redis: Connection) -> None:
    async def scenario() -> None:
        resolve = resolver(exchange.url, empty_redis)
        # Neither asks the other to hand over.
        settings = replace(QUICK, warm_up_seconds=3600)
        async with pumping(resolve, settings, live=False) as one, pumping(resolve, settings, live=False) as two:
            await until(lambda: PumpState.LIVE in one.states + two.states)
            await until(lambda: exchange.listeners == 2)
            await _trade(exchange, 2_000)
            await until(lambda: length(empty_redis) >= 2_000)
            assert [PumpState.LIVE in pump.states for pump in (one, two)].count(True) == 1

    asyncio.run(scenario())
    assert written(empty_redis) == list(range(1, 2_001))


def test_pump_whose_lease_was_deleted_takes_it_again_and_repeats_nothing(
    exchange: Exchange, empty_redis: Connection
) -> None:
    async def scenario() -> None:
        async with pumping(resolver(exchange.url, empty_redis)) as followed:
            await until(lambda: exchange.listeners == 1)
            with client(empty_redis) as redis_client:
                for _ in range(20):
                    await _trade(exchange, 20)
                    redis_client.delete(f"ticks:lease:{SHARD}")
            await until(lambda: length(empty_redis) == 400)
            await until(lambda: followed.count("token") > 1)

    asyncio.run(scenario())
    assert written(empty_redis) == list(range(1, 401))


def test_session_that_is_due_waits_for_its_successor(exchange: Exchange, empty_redis: Connection) -> None:
    async def scenario() -> None:
        resolve = resolver(exchange.url, empty_redis)
        async with pumping(resolve, session_seconds=0.5) as first:
            await first.reach(PumpState.DUE)
            await _trade(exchange, 10)
            await until(lambda: length(empty_redis) == 10)
            async with pumping(resolve, live=False) as second:
                await second.reach(PumpState.LIVE)
                await first.reach(PumpState.ENDED)
        alone = replace(QUICK, linger_seconds=0.2)
        async with pumping(resolve, alone, session_seconds=0.2) as third:
            await third.reach(PumpState.ENDED)
            assert third.changes[-1].reason == "session over, and no successor came"

    asyncio.run(scenario())
