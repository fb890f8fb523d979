"""When the archive is woken, and that nothing that does not answer keeps it asleep for good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from airflow.sdk.module_loading import import_string
from airflow.triggers.base import TriggerEvent

import tick_backlog
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.orchestration.tick_backlog import WAKE_ENTRIES, Surroundings, wake_entries, wakes
from tick_backlog import TickBacklogTrigger

pytestmark = pytest.mark.unit


class Looks:
    """What each look finds, a count or what goes wrong; the last of them ends the scene."""

    def __init__(self, found: Iterable[int | Exception], most: int = 100) -> None:
        self.found = list(found)
        self.most = most
        self.over = asyncio.Event()

    async def waiting(self) -> int:
        if len(self.found) == 1:
            self.over.set()
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    async def wake_entries(self) -> int:
        return self.most


def told(*found: int | Exception, repeat_seconds: float = 3600.0) -> list[int]:
    """What is told while the looks find this."""

    async def scene() -> list[int]:
        looks = Looks((*found, 0))
        heard: list[int] = []

        async def listen() -> None:
            async for waiting in wakes(Surroundings(looks.waiting, looks.wake_entries, 0.0, repeat_seconds)):
                heard.append(waiting)

        listening = asyncio.create_task(listen())
        await looks.over.wait()
        listening.cancel()
        await asyncio.wait({listening})
        return heard

    return asyncio.run(scene())


@pytest.mark.parametrize(
    ("found", "heard"),
    [
        ((0, 99), []),
        ((99, 100, 5000, 7000), [100]),
        ((100, 99, 101), [100, 101]),
        ((StoreUnavailable("redis: away"), StoreUnavailable("redis: away"), 100), [100]),
        ((100, OSError(), 200), [100]),
    ],
)
def test_archive_is_woken_once_for_each_time_that_too_many_wait(
    found: tuple[int | Exception, ...], heard: list[int]
) -> None:
    assert told(*found) == heard


def test_archive_that_does_not_come_is_called_again() -> None:
    assert told(100, 200, 300, repeat_seconds=0.0) == [100, 200, 300]


def test_limit_is_what_the_variable_says() -> None:
    assert wake_entries({}) == WAKE_ENTRIES
    assert wake_entries({"wake_entries": 50}) == 50


@pytest.mark.parametrize("value", [[], {"wake_entries": 0}, {"wake_entries": True}, {"wake_entries": "9"}, {"off": 1}])
def test_limit_when_the_variable_has_another_form_then_says_which_it_has_to_have(value: Any) -> None:
    with pytest.raises(UserError, match="wake_entries"):
        wake_entries(value)


def test_trigger_when_serialised_then_comes_back_through_json_and_tells_how_many_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene() -> TriggerEvent:
        looks = Looks((500, 0))
        monkeypatch.setattr(tick_backlog, "in_airflow", lambda: Surroundings(looks.waiting, looks.wake_entries, 0.0))
        path, arguments = TickBacklogTrigger().serialize()
        events = import_string(path)(**json.loads(json.dumps(arguments))).run()
        return await anext(events)

    assert asyncio.run(scene()).payload == {"waiting": 500}
