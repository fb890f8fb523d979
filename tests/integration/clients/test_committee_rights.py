"""What the user of committee members may do in Redis, and what is refused to it, by the ACL file that is deployed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.exceptions import ExecAbortError, NoPermissionError
from tests.integration.clients.streams import TRADES, Writer, client, durable_server, take

from coinswarm.clients.channels import Channel
from coinswarm.clients.committee import CommitteeData
from coinswarm.clients.messages import KINDS, Trade
from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable
from coinswarm.local.redis import READER_RIGHTS, reader_connection

pytestmark = pytest.mark.integration

ARCHIVE = "archive"


@pytest.fixture
def writer(redis_connection: Connection) -> Writer:
    written = Writer(redis_connection)
    for key in written.redis.scan_iter():
        written.redis.delete(key)
    written.trades(1, 2)
    written.redis.hset("latest:trades:binance:BTC-USDT", "price", "1")
    written.redis.set("celery-task-meta-1", "of the platform")
    written.redis.xgroup_create(TRADES, ARCHIVE, "0")
    written.redis.xreadgroup(ARCHIVE, "one", {TRADES: ">"}, count=1)
    return written


@pytest.fixture
def reader(writer: Writer) -> Iterator[Any]:
    with client(committee(writer)) as connected:
        yield connected


def committee(writer: Writer) -> Connection:
    return reader_connection(writer.connection.port or 6379, writer.connection.password)


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


@pytest.mark.parametrize("kind", KINDS)
def test_committee_may_read_streams_of_every_kind_and_their_newest(writer: Writer, reader: Any, kind: str) -> None:
    key, latest = Channel("BTC-USDT", kind).key, f"latest:{kind}:okx:BTC-USDT"
    entry_id = writer.add(key, {"venue": "okx"})
    writer.redis.hset(latest, "venue", "okx")
    with reader.pipeline(transaction=True) as looking:
        looking.xinfo_stream(key).xinfo_groups(key).xread({key: "0"}).hgetall(latest).smembers("ticks:streams")
        state, _, read, newest, streams = looking.execute()
    assert state["last-generated-id"] == read[0][1][-1][0] == entry_id
    assert (newest, key in streams) == ({"venue": "okx"}, True)


# Each is granted to the user of the platform, so that it is the right that is missing, not the command that is wrong.
GROUPS = (
    ("XGROUP", "CREATE", TRADES, "desk", "$"),
    ("XGROUP", "DESTROY", TRADES, ARCHIVE),
    ("XGROUP", "SETID", TRADES, ARCHIVE, "0"),
    ("XREADGROUP", "GROUP", ARCHIVE, "one", "STREAMS", TRADES, ">"),
    ("XACK", TRADES, ARCHIVE, "1-0"),
    ("XCLAIM", TRADES, ARCHIVE, "two", "0", "1-0"),
    ("XAUTOCLAIM", TRADES, ARCHIVE, "two", "0", "0"),
)
WRITES = (
    ("XADD", TRADES, "*", "venue", "nobody"),
    ("XTRIM", TRADES, "MAXLEN", "1000"),
    ("XDEL", TRADES, "1-0"),
    ("HSET", "latest:trades:okx:BTC-USDT", "price", "0"),
    ("SADD", "ticks:streams", "trades:NO-SUCH"),
    ("SET", "ticks:lease:binance", "mine"),
    ("EXPIRE", TRADES, "100"),
    ("RENAME", "ticks:streams", "ticks:hidden"),
    ("DEL", "ticks:hidden"),
    ("PUBLISH", "anything", "hello"),
    ("EVAL", "return 1", "0"),
)
OTHERS = (("GET", "celery-task-meta-1"), ("EXISTS", "celery-task-meta-1"), ("XREAD", "STREAMS", "queue:x", "0"))


@pytest.mark.parametrize("command", [*GROUPS, *WRITES, *OTHERS], ids=" ".join)
def test_committee_is_refused_what_the_platform_may(writer: Writer, reader: Any, command: tuple[str, ...]) -> None:
    with pytest.raises(NoPermissionError):
        reader.execute_command(*command)
    with reader.pipeline(transaction=True) as queue, pytest.raises((NoPermissionError, ExecAbortError)):
        queue.execute_command(*command).execute()
    writer.redis.execute_command(*command)


@pytest.mark.parametrize(
    "command", [("FLUSHALL",), ("CONFIG", "GET", "dir"), ("ACL", "LIST"), ("KEYS", "*"), ("SHUTDOWN",)]
)
def test_committee_is_refused_what_only_an_administrator_may(reader: Any, command: tuple[str, ...]) -> None:
    with pytest.raises(NoPermissionError):
        reader.execute_command(*command)


def test_group_when_of_the_committees_user_then_says_what_to_do_and_leaves_nothing(writer: Writer) -> None:
    async def story() -> None:
        data = CommitteeData(committee(writer))
        told = r"redis_committee: user 'committee' may not read as a group.*without a group.*`redis_ticks`.*xgroup"
        async with data.subscribe("BTC-USDT:trades", group="desk", consumer="one") as messages:
            with pytest.raises(StoreUnavailable, match=told):
                await messages.begin()
            with pytest.raises(StoreUnavailable, match=told):
                await anext(messages)

    run(story())
    # What another group holds is still there.
    assert [group["name"] for group in writer.redis.xinfo_groups(TRADES)] == [ARCHIVE]
    assert writer.redis.xpending(TRADES, ARCHIVE)["pending"] == 1


def test_group_when_of_a_user_with_the_rights_that_the_page_names_then_reads_and_acknowledges(tmp_path: Path) -> None:
    with durable_server(tmp_path) as server:
        server.kill()
        rights = f"%RW~trades:* {READER_RIGHTS} +xgroup +xreadgroup +xautoclaim +xack"
        with (tmp_path / "redis" / "users.acl").open("a") as users:
            users.write(f"user desk on >secret {rights}\n")
        server.start()
        writer = Writer(server.connection)
        writer.trades(1, 2)
        data = CommitteeData(replace(server.connection, login="desk", password="secret"))

        async def story() -> None:
            async with data.subscribe("BTC-USDT:trades", start="oldest", group="desk", consumer="one") as messages:
                got = await take(messages, 2)
                assert [one.trade_id for one in got if isinstance(one, Trade)] == ["1", "2"]

        run(story())
        # The last message counts as unhandled.
        assert writer.redis.xpending(TRADES, "desk")["pending"] == 1
