"""A shard's share of a run, with a fake pump: sessions, hand-over, cancellation, switches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.unit.plugins.fake_pump import FakePump, World

from coinswarm.errors import UserError
from coinswarm.orchestration.tick_runs import ShardRun, Wishes, leaving, stop_leaving
from coinswarm.ticks.settings import TickSettings

pytestmark = pytest.mark.unit

LONG = 3600.0


def shard_run(world: World, seconds: float = LONG, *, ago: float = 0, linger: float = LONG) -> ShardRun:
    since = datetime.now(UTC) - timedelta(seconds=ago)
    return ShardRun("okx", TickSettings(linger_seconds=linger), world.around(), seconds, since)


def play(scene: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        try:
            async with asyncio.timeout(20):
                await scene()
        finally:
            await stop_leaving("okx")

    asyncio.run(bounded())


async def all_left() -> None:
    while leaving("okx"):  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def test_run_when_its_session_is_over_then_its_pump_writes_on_until_a_successor_takes_over() -> None:
    async def scene() -> None:
        world = World(pump := FakePump())
        counters = await shard_run(world, 0.02).until_due()
        assert (counters["entries"], counters["shard"]) == (7, "okx")
        assert counters["longest_loop_lag_ms"] >= 0
        await asyncio.sleep(0.02)
        assert pump.writing
        assert leaving("okx") == 1
        pump.hand_over()
        await all_left()
        assert pump.ended == "handed over"

    play(scene)


def test_run_when_no_successor_comes_then_its_pump_ends_after_lingering() -> None:
    async def scene() -> None:
        world = World(pump := FakePump())
        await shard_run(world, 0.01, linger=0.01).until_due()
        await all_left()
        assert pump.ended == "session over, and no successor came"

    play(scene)


def test_run_when_it_did_not_write_at_the_end_then_nothing_lingers() -> None:
    async def scene() -> None:
        world = World(pump := FakePump(writing=False))
        await shard_run(world, 0.01).until_due()
        await all_left()
        assert pump.ended

    play(scene)


def test_run_when_its_session_is_over_before_it_starts_then_no_pump_is_made() -> None:
    async def scene() -> None:
        world = World()
        assert (await shard_run(world, 60, ago=61).until_due())["shard"] == "okx"
        assert world.made == []

    play(scene)


def test_run_when_cancelled_then_waits_for_the_pump_to_let_go() -> None:
    async def scene() -> None:
        world = World(pump := FakePump())
        pump.may_close.clear()
        task = asyncio.create_task(shard_run(world).until_due())
        await pump.started.wait()
        await asyncio.sleep(0.005)
        task.cancel()
        await pump.closing.wait()
        await asyncio.sleep(0.005)
        assert not task.done()
        pump.may_close.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert pump.ended == "CancelledError"
        assert leaving("okx") == 0

    play(scene)


def test_run_when_cancelled_just_as_the_variable_answers_then_ends() -> None:
    async def scene() -> None:
        answer: asyncio.Future[Wishes] = asyncio.get_running_loop().create_future()
        around = replace((world := World()).around(), wishes=lambda: answer, wish_seconds=LONG)
        task = asyncio.create_task(ShardRun("okx", TickSettings(), around, LONG).until_due())
        await asyncio.sleep(0.005)
        answer.set_result(Wishes())
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.cancelled()
        assert world.made == []

    play(scene)


def test_pump_when_the_whole_loop_ends_then_closes_undisturbed() -> None:
    pump: list[FakePump] = []

    async def scene() -> None:
        pump.append(FakePump())
        pump[0].may_close.clear()
        keep = asyncio.create_task(shard_run(World(pump[0])).until_due())
        await pump[0].started.wait()
        await asyncio.sleep(0.005)
        asyncio.get_running_loop().call_later(0.02, pump[0].may_close.set)
        assert not keep.done()

    asyncio.run(scene())  # cancels every task at once, ours and the pump's
    # A second cancellation would have broken into the wait, and `ended` would never have been said.
    assert pump[0].ended == "CancelledError"


def test_run_when_the_pump_cannot_work_then_fails_with_its_reason() -> None:
    async def scene() -> None:
        world = World(FakePump(UserError("connection 'http_okx' is not defined")))
        with pytest.raises(UserError, match="http_okx"):
            await shard_run(world).until_due()

    play(scene)


def test_run_when_another_owner_takes_over_then_stands_by_until_the_lease_is_free() -> None:
    async def scene() -> None:
        world = World(first := FakePump(), second := FakePump())
        world.held = True
        task = asyncio.create_task(shard_run(world).until_due())
        await first.started.wait()
        first.hand_over()
        await first.gone.wait()
        await asyncio.sleep(0.03)
        assert world.made == [first]
        world.held = False
        await second.started.wait()
        task.cancel()
        await asyncio.wait({task})

    play(scene)


def test_run_when_another_owner_stays_then_ends_with_its_session() -> None:
    async def scene() -> None:
        world = World(first := FakePump())
        world.held = True
        task = asyncio.create_task(shard_run(world, 0.05).until_due())
        await first.started.wait()
        first.hand_over()
        assert (await task)["entries"] == 7
        assert world.made == [first]

    play(scene)


def test_run_when_switched_off_then_stops_and_when_switched_on_then_pumps_again() -> None:
    async def scene() -> None:
        world = World(first := FakePump(), second := FakePump())
        task = asyncio.create_task(shard_run(world).until_due())
        await first.started.wait()
        world.wishes = Wishes(off=frozenset({"okx"}))
        await first.gone.wait()
        assert first.ended == "switched off by Variable stream_ticks"
        await asyncio.sleep(0.01)
        assert world.made == [first]
        world.wishes = Wishes(off=frozenset({"deribit"}))
        await second.started.wait()
        task.cancel()
        await asyncio.wait({task})

    play(scene)


def test_run_when_operators_shorten_the_session_then_ends_by_their_wish() -> None:
    async def scene() -> None:
        world = World(pump := FakePump())
        task = asyncio.create_task(shard_run(world, ago=60).until_due())
        await pump.started.wait()
        world.wishes = Wishes(session_seconds=30)
        await task
        assert leaving("okx") == 1

    play(scene)


def test_run_when_wishes_cannot_be_read_then_goes_on_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        world = World(pump := FakePump())
        world.wishes = RuntimeError("the API is away")
        with caplog.at_level(logging.WARNING):
            await shard_run(world, 0.05).until_due()
        assert pump.writing

    play(scene)
    assert [record.message for record in caplog.records] == ["okx: wishes stay as they are: the API is away"]


def test_run_when_the_api_does_not_answer_then_pumps_nevertheless() -> None:
    async def scene() -> None:
        world = World(pump := FakePump())
        world.silent = True
        task = asyncio.create_task(shard_run(world).until_due())
        await pump.started.wait()
        task.cancel()
        await asyncio.wait({task})

    play(scene)


def test_stop_leaving_when_called_twice_then_stops_once() -> None:
    async def scene() -> None:
        world = World(pump := FakePump())
        await shard_run(world, 0.01).until_due()
        await stop_leaving("okx")
        assert pump.ended == "CancelledError"
        assert not pump.writing
        await stop_leaving("okx")
        assert leaving("okx") == 0

    play(scene)


@pytest.mark.parametrize(
    "bad", [[], "okx", {"off": "okx"}, {"off": [1]}, {"session_seconds": 0}, {"session_seconds": True}, {"on": []}]
)
def test_wishes_when_they_have_another_form_then_are_refused(bad: Any) -> None:
    with pytest.raises(UserError, match="Variable"):
        Wishes.from_json(bad)


def test_wishes_when_all_is_given_then_are_read() -> None:
    assert Wishes.from_json({"off": ["okx"], "session_seconds": 60}) == Wishes(frozenset({"okx"}), 60)
    assert Wishes.from_json({}) == Wishes()
