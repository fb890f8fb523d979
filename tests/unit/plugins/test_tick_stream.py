"""The trigger and the operator as Airflow meets them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import TaskSuccessEvent, TriggerEvent
from tests.unit.plugins.fake_pump import FakePump, World

import tick_stream
from coinswarm.errors import UserError
from coinswarm.orchestration.tick_runs import leaving, stop_leaving
from tick_stream import TickStreamOperator, TickStreamTrigger

pytestmark = pytest.mark.unit


def test_trigger_when_serialised_then_comes_back_the_same_through_json() -> None:
    trigger = TickStreamTrigger("okx", 60.0, "2026-11-26T10:00:00+00:00", {"linger_seconds": 5.0})
    path, arguments = trigger.serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)
    assert (again.shard, again.session_seconds, again.since) == ("okx", 60.0, "2026-11-26T10:00:00+00:00")


def test_trigger_when_arguments_are_of_another_release_then_starts_with_what_it_knows() -> None:
    assert TickStreamTrigger(shard="okx").serialize()[1]["settings"] == {}
    newer = TickStreamTrigger(shard="okx", session_seconds=60, compression="lz4")
    assert "compression" not in newer.serialize()[1]


def test_trigger_when_its_session_ends_then_fires_one_event_that_ends_the_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> list[TriggerEvent]:
        world = World(FakePump())
        monkeypatch.setattr(tick_stream, "in_airflow", world.around)
        since = (datetime.now(UTC) - timedelta(seconds=59.95)).isoformat()
        trigger = TickStreamTrigger("okx", 60.0, since)
        events = [event async for event in trigger.run()]
        # What lingers is stopped by a kill, and a second one finds nothing to do.
        assert leaving("okx") == 1
        await trigger.on_kill()
        await trigger.on_kill()
        assert leaving("okx") == 0
        assert world.made[0].ended == "CancelledError"
        return events

    (event,) = asyncio.run(scene())
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms is not None
    counters: Any = event.xcoms["return_value"]
    assert (counters["shard"], counters["entries"]) == ("okx", 7)
    assert json.loads(json.dumps(event.model_dump()))


def test_trigger_when_killed_beside_its_successor_then_leaves_that_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # On "clear" the new trigger runs before the old one's on_kill.
    async def scene() -> None:
        world = World(old := FakePump(), new := FakePump())
        monkeypatch.setattr(tick_stream, "in_airflow", world.around)
        triggers = [TickStreamTrigger("okx"), TickStreamTrigger("okx")]
        tasks = []
        for trigger, pump in zip(triggers, (old, new), strict=True):
            tasks.append(asyncio.ensure_future(anext(trigger.run())))
            await pump.started.wait()
        tasks[0].cancel()
        await asyncio.wait({tasks[0]})
        await triggers[0].on_kill()
        assert old.ended == "CancelledError"
        assert new.writing
        assert not tasks[1].done()
        tasks[1].cancel()
        await asyncio.wait({tasks[1]})
        await stop_leaving("okx")

    asyncio.run(scene())


def test_operator_when_it_starts_from_its_trigger_then_names_its_own_class_and_plain_arguments() -> None:
    with DAG("stream_ticks", schedule=None):
        task = TickStreamOperator(task_id="stream_okx", shard="okx", settings={"book_levels": 5})
    arguments = task.start_trigger_args
    assert task.start_from_trigger
    assert import_string(arguments.trigger_cls) is TickStreamTrigger
    assert json.loads(json.dumps(arguments.trigger_kwargs)) == arguments.trigger_kwargs
    assert arguments.trigger_kwargs["since"] == task.since
    assert "since" in task.template_fields


def test_operator_when_a_worker_defers_it_then_hands_its_trigger_the_same_arguments() -> None:
    with DAG("stream_ticks", schedule=None):
        task = TickStreamOperator(task_id="stream_okx", shard="okx", session_seconds=60, start_from_trigger=False)
    assert not task.start_from_trigger
    assert task.start_trigger_args is None
    with pytest.raises(TaskDeferred) as deferred:
        task.execute({})
    assert deferred.value.trigger.serialize()[1]["session_seconds"] == 60
    assert deferred.value.method_name == "execute_complete"
    assert task.execute_complete({}, "event") == "event"


@pytest.mark.parametrize("wrong", [{"shard": "nowhere"}, {"shard": "okx", "settings": {"no_such": 1}}])
def test_operator_when_shard_or_setting_is_unknown_then_the_dag_is_refused(wrong: dict[str, Any]) -> None:
    with DAG("stream_ticks", schedule=None), pytest.raises(UserError):
        TickStreamOperator(task_id="stream_it", **wrong)
