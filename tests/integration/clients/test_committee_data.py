"""Live ticks as an agent gets them: in order, from anywhere, over restarts of Redis, and never less without a word."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.clients.streams import (
    BOOK,
    START_MS,
    TRADES,
    Server,
    Writer,
    book,
    durable_server,
    quiet,
    take,
    trade,
)
from tests.support import ROOT

from coinswarm.clients import subscription as subscribing
from coinswarm.clients.committee import CommitteeData
from coinswarm.clients.messages import (
    Arbitrage,
    Interrupted,
    Level,
    Message,
    Missed,
    OptionQuote,
    OrderBook,
    Resumed,
    Trade,
    Unreadable,
    VolatilityIndex,
)
from coinswarm.clients.subscription import Subscription
from coinswarm.connections import Connection
from coinswarm.errors import StoreUnavailable, UserError
from coinswarm.local.redis import reader_connection
from coinswarm.ticks.positions import Cause
from coinswarm.timeframes import floor, milliseconds

pytestmark = pytest.mark.integration


@pytest.fixture
def writer(redis_connection: Connection) -> Writer:
    written = Writer(redis_connection)
    for key in written.redis.scan_iter():
        written.redis.delete(key)
    return written


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with durable_server(tmp_path) as started:
        yield started


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def data(writer: Writer) -> CommitteeData:
    """As committee members have it: a user who may read and nothing else."""
    port, password = writer.connection.port or 6379, writer.connection.password
    return CommitteeData(reader_connection(port, password))


def numbers(messages: list[Any]) -> list[str]:
    return [one.trade_id for one in messages if isinstance(one, Trade)]


def test_subscribe_when_several_channels_then_typed_messages_come_in_the_order_of_redis(writer: Writer) -> None:
    writer.trades(1, at=0)
    writer.add(BOOK, book(), at=5)
    writer.trades(2, at=10, side="sell", native="3", seq="2000")
    writer.add("liquidations:BTC-USDT-PERP", {
        "venue": "bybit", "side": "long", "price": "59000", "size": "0.5", "price_kind": "bankruptcy",
        "sampled": "0", "ts": str(START_MS), "recv": str(START_MS + 1),
    }, at=11)  # fmt: skip
    writer.add("volatility:BTC", {
        "venue": "deribit", "kind": "index", "value": "45.30", "ts": str(START_MS), "recv": str(START_MS)
    }, at=12)  # fmt: skip
    writer.add("arbitrage:BTC-USDT", {
        "buy": "okx", "sell": "binance", "buy_price": "60000", "sell_price": "60100", "gross_bps": "16.6",
        "net_bps": "-3.4", "ts": str(START_MS), "recv": str(START_MS),
    }, at=13)  # fmt: skip

    async def story() -> None:
        channels = (
            "BTC:volatility", "BTC-USDT:orderbook", "BTC-USDT:trades", "BTC-USDT:arbitrage",
            "BTC-USDT-PERP:liquidations",
        )  # fmt: skip
        async with data(writer) as committee, committee.subscribe(*channels, start="oldest") as messages:
            got = await take(messages, 6)
            assert [type(one).__name__ for one in got] == [
                "Trade", "OrderBook", "Trade", "Liquidation", "VolatilityIndex", "Arbitrage",
            ]  # fmt: skip
            first, second = got[0], got[2]
            assert isinstance(first, Trade)
            assert isinstance(second, Trade)
            assert (first.channel, first.symbol, first.venue, first.trade_id) == (
                "BTC-USDT:trades", "BTC-USDT", "binance", "1",
            )  # fmt: skip
            assert str(first.price) == "60000.10"
            assert first.price * first.size == Decimal("60.0001000")
            assert first.event_at == datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(milliseconds=1)
            assert first.received_at - first.event_at == timedelta(milliseconds=7)
            assert first.taken_at == datetime.fromtimestamp(START_MS / 1000, UTC)
            assert (first.native, first.sequence, second.side, second.native, second.sequence) == (
                None, None, "sell", Decimal(3), 2000,
            )  # fmt: skip
            books = got[1]
            assert isinstance(books, OrderBook)
            assert books.bids == (Level(Decimal("60000.0"), Decimal("1.0")), Level(Decimal(59999), Decimal("2.50")))
            assert (books.spread_bps, books.imbalance, books.sequence) == (Decimal("0.249997"), Decimal("-0.5"), 77)
            # Live from here on.
            writer.trades(3, at=20)
            assert numbers(await take(messages, 1)) == ["3"]

    run(story())


def test_subscribe_when_from_now_then_nothing_older_comes_and_nothing_newer_is_left_out(writer: Writer) -> None:
    writer.trades(*range(5))

    async def story() -> None:
        # The second stream does not exist yet.
        messages = data(writer).subscribe("BTC-USDT:trades", "ETH-USDT:trades")
        await messages.begin()
        writer.trades(5, 6)
        writer.trades(7, key="trades:ETH-USDT")
        assert sorted(numbers(await take(messages, 3))) == ["5", "6", "7"]
        await messages.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(messages)

    run(story())


def test_subscribe_when_from_an_id_a_moment_or_positions_then_goes_on_there(writer: Writer) -> None:
    ids = writer.trades(*range(10), at=0)
    moment = datetime.fromtimestamp(START_MS / 1000, UTC) + timedelta(milliseconds=7)

    async def read_on(count: int, **how: Any) -> tuple[list[str], dict[str, str]]:
        async with data(writer).subscribe("BTC-USDT:trades", "BTC-USDT:orderbook", **how) as messages:
            return numbers(await take(messages, count)), messages.position

    async def story() -> None:
        assert (await read_on(3, start=ids[6]))[0] == ["7", "8", "9"]
        assert (await read_on(3, start=moment))[0] == ["7", "8", "9"]
        assert (await read_on(3, start=moment.astimezone().replace(microsecond=moment.microsecond)))[0][0] == "7"
        got, position = await read_on(4, start="oldest")
        assert got == ["0", "1", "2", "3"]
        # What was read and not handed out is not behind us.
        assert position == {"BTC-USDT:trades": ids[3], "BTC-USDT:orderbook": "0-0"}
        assert (await read_on(2, start=position))[0] == ["4", "5"]

    run(story())


def test_subscribe_when_one_stream_is_long_then_the_order_over_all_holds(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "COUNT", 7)
    writer.trades(*range(0, 100), at=0)
    for at in range(3, 100, 20):
        writer.add(BOOK, book(), at=at)

    async def story() -> None:
        async with data(writer).subscribe("BTC-USDT:orderbook", "BTC-USDT:trades", start="oldest") as messages:
            got = await take(messages, 105)
        assert numbers(got) == [str(number) for number in range(100)]
        moments = [one.taken_at for one in got if isinstance(one, Trade | OrderBook)]
        assert moments == sorted(moments)
        assert len(moments) == 105

    run(story())


def test_subscribe_when_waiting_is_given_up_then_nothing_is_lost_by_that(writer: Writer) -> None:
    async def story() -> None:
        async with data(writer).subscribe("BTC-USDT:trades") as messages:
            assert await quiet(messages)
            writer.trades(1, 2)
            assert numbers(await take(messages, 2)) == ["1", "2"]

    run(story())


def test_subscribe_when_it_is_closed_while_somebody_waits_then_the_iteration_ends(writer: Writer) -> None:
    async def story() -> None:
        messages = data(writer).subscribe("BTC-USDT:trades")
        waiting = asyncio.ensure_future(anext(messages))
        await messages.begin()
        await messages.aclose()
        with pytest.raises(StopAsyncIteration):
            await waiting

    run(story())


def test_subscribe_when_only_some_venues_are_wanted_then_the_others_are_passed_over(writer: Writer) -> None:
    writer.trades(1, 2, at=0)
    last = writer.trades(3, at=2, venue="okx")

    async def story() -> None:
        async with data(writer).subscribe("BTC-USDT:trades", start="oldest", venues=["okx"]) as messages:
            assert numbers(await take(messages, 1)) == ["3"]
            assert messages.position == {"BTC-USDT:trades": last[0]}
        # One edge is between two venues, and both must be among them.
        for buy, sell in (("okx", "binance"), ("bybit", "okx")):
            writer.add("arbitrage:BTC-USDT", {
                "buy": buy, "sell": sell, "buy_price": "1", "sell_price": "2", "gross_bps": "1", "net_bps": "1",
                "ts": "0", "recv": str(START_MS),
            })  # fmt: skip
        edges = data(writer).subscribe("BTC-USDT:arbitrage", start="oldest", venues=["okx", "bybit"])
        (edge,) = await take(edges, 1)
        assert isinstance(edge, Arbitrage)
        assert (edge.buy, edge.sell, edge.event_at) == ("bybit", "okx", edge.received_at)
        await edges.aclose()

    run(story())


def test_subscribe_when_an_entry_makes_no_sense_then_says_so_and_goes_on(writer: Writer) -> None:
    writer.trades(1)
    bad = writer.redis.xadd(TRADES, {b"venue": b"\xff\xfe", b"price": b"NaN"})
    writer.trades(2)

    async def story() -> None:
        async with data(writer).subscribe("BTC-USDT:trades", start="oldest") as messages:
            got = await take(messages, 3)
        assert numbers(got) == ["1", "2"]
        assert isinstance(got[1], Unreadable)
        assert (got[1].id, got[1].field) == (bad, "recv")

    run(story())


@pytest.mark.parametrize(
    ("channels", "how", "says"),
    [
        (["BTC-USDT:candles"], {}, "KIND one of trades, orderbook, liquidations"),
        (["BTC-USDT"], {}, "KIND one of trades"),
        (["BTC*:trades"], {}, "not allowed"),
        (["BTC USD:trades"], {}, "not allowed"),
        ([], {}, "no channel"),
        (["BTC-USDT:trades"], {"venues": ["mtgox"]}, "unknown venue 'mtgox'; there are binance, coinbase"),
        (["BTC-USDT:trades"], {"start": "yesterday"}, "not an entry's id"),
        (["BTC-USDT:trades"], {"start": datetime(2026, 1, 1)}, "time zone"),
        (["BTC-USDT:trades"], {"start": datetime(2200, 1, 1, tzinfo=UTC)}, "future"),
        (["BTC-USDT:trades"], {"start": {"ETH-USDT:trades": "1-1"}}, "not subscribed"),
        (["BTC-USDT:trades"], {"group": "desk"}, "name of this consumer"),
        (["BTC-USDT:trades"], {"group": "desk one", "consumer": "a"}, "not allowed"),
    ],
)
def test_subscribe_when_asked_for_what_cannot_be_then_says_what_can(
    writer: Writer, channels: list[str], how: dict[str, Any], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        data(writer).subscribe(*channels, **how)


def test_subscribe_when_no_such_symbol_then_lists_those_that_there_are(writer: Writer) -> None:
    writer.trades(1, key="trades:BTC-27MAR26-100000-C")

    async def story() -> None:
        with pytest.raises(
            UserError, match=r"no channel 'BTC-XYZ:trades'; trades has BTC-27MAR26-100000-C, BTC-USD, BTC"
        ):
            await data(writer).subscribe("BTC-XYZ:trades").begin()
        # Spot has no funding; its perpetual is another instrument.
        with pytest.raises(UserError, match="funding has BTC-USD-PERP, BTC-USDT-PERP, ETH"):
            await take(data(writer).subscribe("BTC-USDT:funding"), 1)
        # What Redis has, is there, whatever the registry says.
        async with data(writer).subscribe("BTC-27MAR26-100000-C:trades", start="oldest") as messages:
            assert numbers(await take(messages, 1)) == ["1"]
        assert await data(writer).channels() == ("BTC-27MAR26-100000-C:trades",)

    run(story())


def test_subscribe_when_redis_refuses_then_says_so_instead_of_waiting(writer: Writer) -> None:
    wrong = CommitteeData(replace(writer.connection, password="wrong"))

    async def story() -> None:
        with pytest.raises(StoreUnavailable, match=r"redis_ticks.*invalid username-password"):
            await take(wrong.subscribe("BTC-USDT:trades"), 1)
        with pytest.raises(StoreUnavailable, match="redis_ticks"):
            await wrong.snapshot("BTC-USDT")
        writer.redis.set(TRADES, "not a stream")
        with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
            await take(data(writer).subscribe("BTC-USDT:trades"), 1)

    run(story())


# ---- what is missing


def test_missed_when_the_stream_was_trimmed_beyond_the_position_then_counts_what_is_lost(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "LOOK_SECONDS", 0.0)

    async def story() -> None:
        async with data(writer).subscribe("BTC-USDT:trades", "BTC-USDT:orderbook") as messages:
            await messages.begin()
            ids = writer.trades(1, at=0)
            assert numbers(await take(messages, 1)) == ["1"]
            # The agent is busy, and all of this passes.
            ids += writer.trades(2, 3, 4, 5, at=1)
            writer.add(BOOK, book(), at=6)
            writer.redis.xtrim(TRADES, minid=ids[3], approximate=False)
            missed, *rest = await take(messages, 4)
            assert missed == Missed(channel="BTC-USDT:trades", id=ids[3], cause=Cause.TRIMMED, entries=2, after=ids[0])
            assert numbers(rest) == ["4", "5"]
            # All that there was: only the next entry shows that something was there before.
            writer.trades(6, 7, at=10)
            writer.redis.xtrim(TRADES, maxlen=0, approximate=False)
            (missed,) = await take(messages, 1)
            assert (missed.entries, missed.id) == (2, "")
            writer.trades(8, at=20)
            assert numbers(await take(messages, 1)) == ["8"]
            # What was read before it was trimmed is not missed.
            writer.redis.xtrim(TRADES, maxlen=0, approximate=False)
            writer.trades(9, at=30)
            assert numbers(await take(messages, 1)) == ["9"]
            assert await quiet(messages)

    run(story())


def test_missed_when_entries_vanish_behind_one_that_a_group_holds_then_counts_them(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "LOOK_SECONDS", 0.0)

    async def story() -> None:
        async with data(writer).subscribe("BTC-USDT:trades") as messages:
            await messages.begin()
            ids = writer.trades(*range(6), at=0)
            writer.redis.xgroup_create(TRADES, "archive", "0")
            writer.redis.xreadgroup("archive", "archive", {TRADES: ">"})
            writer.redis.xack(TRADES, "archive", *ids[1:4])
            writer.redis.execute_command("XTRIM", TRADES, "MINID", "=", ids[5], "ACKED")
            got = await take(messages, 4)
            assert isinstance(got[0], Missed)
            assert got[0].entries == 3
            assert numbers(got) == ["0", "4", "5"]

    run(story())


def test_missed_when_the_beginning_is_gone_then_it_is_told_without_a_number(writer: Writer) -> None:
    ids = writer.trades(*range(10), at=0)
    begin = datetime.fromtimestamp(START_MS / 1000, UTC) - timedelta(hours=1)

    async def first(**how: Any) -> Any:
        async with data(writer).subscribe("BTC-USDT:trades", **how) as messages:
            return (await take(messages, 1))[0]

    async def story() -> None:
        # Nothing was ever trimmed: all there was since then is there.
        assert isinstance(await first(start=begin), Trade)
        writer.redis.xtrim(TRADES, minid=ids[4], approximate=False)
        for start in (begin, ids[1]):
            missed = await first(start=start)
            assert (missed.cause, missed.entries, missed.id) == (Cause.TRIMMED, None, ids[4])
        assert isinstance(await first(start=ids[4]), Trade)
        assert isinstance(await first(start="oldest"), Trade)
        # This Redis never had such an entry.
        missed = await first(start=f"{START_MS + 5000}-0")
        assert (missed.cause, missed.entries) == (Cause.FORGOTTEN, None)

    run(story())


# ---- over a restart


def test_subscribe_when_redis_is_killed_and_comes_back_then_goes_on_without_a_hole(server: Server) -> None:
    writer = Writer(server.connection)
    writer.trades(*range(3))

    async def story() -> None:
        async with data(writer).subscribe("BTC-USDT:trades", start="oldest") as messages:
            assert numbers(await take(messages, 2)) == ["0", "1"]
            writer.trades(3, 4)
            await asyncio.to_thread(server.kill)
            # What was read already is still handed out.
            assert numbers(await take(messages, 1)) == ["2"]
            (interrupted,) = await take(messages, 1)
            assert isinstance(interrupted, Interrupted)
            await asyncio.to_thread(server.start)
            writer.trades(5)
            got = await take(messages, 4)
            assert isinstance(got[0], Resumed)
            assert numbers(got) == ["3", "4", "5"]
            assert await quiet(messages)

    run(story())


def test_subscribe_when_redis_comes_back_empty_then_it_is_told(server: Server) -> None:
    writer = Writer(server.connection)
    writer.trades(*range(3))

    async def story() -> None:
        async with data(writer).subscribe("BTC-USDT:trades", start="oldest") as messages:
            last = (await take(messages, 3))[-1]
            await asyncio.to_thread(server.kill)
            for file in sorted((server.folder / "redis" / "appendonlydir").iterdir()):
                file.unlink()
            await asyncio.to_thread(server.start)
            writer.trades(9)
            got = []
            while not numbers(got):
                got += await take(messages, 1)
            missed, rest = [one for one in got if isinstance(one, Missed)], numbers(got)
            assert [(one.cause, one.entries) for one in missed] == [(Cause.FORGOTTEN, None)]
            assert isinstance(last, Message)
            assert missed[0].after == last.id
            assert rest == ["9"]

    run(story())


def test_subscribe_when_redis_is_not_there_yet_then_waits_for_it_and_begin_does_not(server: Server) -> None:
    server.kill()

    async def story() -> None:
        committee = CommitteeData(server.connection)
        with pytest.raises(StoreUnavailable, match="redis_ticks"):
            await committee.subscribe("BTC-USDT:trades").begin()
        async with committee.subscribe("BTC-USDT:trades", start="oldest") as messages:
            assert isinstance((await take(messages, 1))[0], Interrupted)
            await asyncio.to_thread(server.start)
            Writer(server.connection).trades(1)
            got = await take(messages, 2)
            assert isinstance(got[0], Resumed)
            assert numbers(got) == ["1"]

    run(story())


# ---- groups


def member(writer: Writer, consumer: str, *channels: str, **how: Any) -> Subscription:
    # A group acknowledges, which the committee's user may not.
    committee = CommitteeData(writer.connection)
    return committee.subscribe(*(channels or ("BTC-USDT:trades",)), group="desk", consumer=consumer, **how)


def pending(writer: Writer) -> int:
    return int(writer.redis.xpending(TRADES, "desk")["pending"])


def test_group_when_two_consumers_share_it_then_each_message_goes_to_one(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscribing, "COUNT", 10)
    writer.trades(*range(100))

    async def story() -> None:
        got: list[str] = []
        async with member(writer, "a", start="oldest") as one, member(writer, "b") as other:
            for _ in range(5):
                got += numbers(await take(one, 10)) + numbers(await take(other, 10))
            assert await quiet(one)
            assert await quiet(other)
        assert sorted(map(int, got)) == list(range(100))
        assert pending(writer) == 0

    run(story())


def test_group_when_a_consumer_dies_then_what_it_had_not_finished_comes_again(writer: Writer) -> None:
    writer.trades(*range(5))

    async def story() -> None:
        dying = member(writer, "a", start="oldest")
        assert numbers(await take(dying, 3)) == ["0", "1", "2"]
        await dying.aclose()
        # Asking for the third said that two were done; the third may be half done.
        assert pending(writer) == 3
        async with member(writer, "a") as again:
            writer.trades(5)
            assert numbers(await take(again, 4)) == ["2", "3", "4", "5"]
            # Somebody else does not get what is in our hands.
            async with member(writer, "b") as other:
                assert await quiet(other)

    run(story())


def test_group_when_a_consumer_stays_away_then_another_takes_its_entries(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.trades(*range(5))

    async def story() -> None:
        dying = member(writer, "a", start="oldest")
        await take(dying, 2)
        await dying.aclose()
        async with member(writer, "b") as too_early:
            assert await quiet(too_early)
        monkeypatch.setattr(subscribing, "CLAIM_IDLE_MS", 0)
        async with member(writer, "b") as other:
            assert numbers(await take(other, 4)) == ["1", "2", "3", "4"]

    run(story())


def test_group_when_only_some_venues_are_wanted_then_the_others_are_acknowledged(writer: Writer) -> None:
    writer.trades(1, 2, venue="okx")
    writer.trades(3, 4)

    async def story() -> None:
        async with member(writer, "a", start="oldest", venues=["binance"]) as messages:
            assert numbers(await take(messages, 2)) == ["3", "4"]
        assert pending(writer) == 1

    run(story())


def test_group_when_redis_is_killed_and_comes_back_then_each_comes_at_least_once(server: Server) -> None:
    writer = Writer(server.connection)
    writer.trades(*range(4))

    async def story() -> None:
        async with member(writer, "a", start="oldest") as messages:
            got = await take(messages, 2)
            await asyncio.to_thread(server.kill)
            got += await take(messages, 3)
            assert isinstance(got[-1], Interrupted)
            await asyncio.to_thread(server.start)
            writer.trades(4, 5)
            got += await take(messages, 3)
            assert isinstance(got[5], Resumed)
            # Nothing that was in our hands came twice.
            assert numbers(got) == ["0", "1", "2", "3", "4", "5"]
            assert await quiet(messages)
        assert pending(writer) == 0

    run(story())


def test_group_when_an_answer_of_redis_was_lost_on_its_way_then_its_entries_come(server: Server) -> None:
    writer = Writer(server.connection)

    async def story() -> None:
        async with member(writer, "a") as messages:
            await messages.begin()
            writer.trades(0)
            assert numbers(await take(messages, 1)) == ["0"]
            writer.trades(1, 2)
            # As if they had been given to us, and the connection had broken before they arrived.
            writer.redis.xreadgroup("desk", "a", {TRADES: ">"})
            assert pending(writer) == 3
            await asyncio.to_thread(server.kill)
            await asyncio.to_thread(server.start)
            writer.trades(3)
            got: list[Any] = []
            while "3" not in numbers(got):
                got += await take(messages, 1)
            assert numbers(got) == ["1", "2", "3"]

    run(story())


def test_group_when_entries_were_trimmed_then_counts_them_once(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscribing, "LOOK_SECONDS", 0.0)
    writer.trades(0, at=0)

    async def story() -> None:
        async with member(writer, "a", start="oldest") as messages:
            await take(messages, 1)
            ids = writer.trades(1, 2, 3, at=1)
            writer.redis.xtrim(TRADES, minid=ids[2], approximate=False)
            missed, *rest = await take(messages, 2)
            assert (missed.cause, missed.entries, missed.id) == (Cause.TRIMMED, 2, ids[2])
            assert numbers(rest) == ["3"]
            writer.trades(4, 5, at=10)
            writer.redis.xtrim(TRADES, maxlen=0, approximate=False)
            (missed,) = await take(messages, 1)
            assert missed.entries == 2
            assert await quiet(messages)
            writer.trades(6, at=20)
            assert numbers(await take(messages, 1)) == ["6"]
        # What was in somebody's hands and is gone is missed as well.
        dying = member(writer, "a")
        await take(dying, 1)
        await dying.aclose()
        writer.redis.xtrim(TRADES, maxlen=0, approximate=False)
        async with member(writer, "a") as again:
            (missed,) = await take(again, 1)
            assert (missed.cause, missed.entries) == (Cause.TRIMMED, 1)
            assert await quiet(again)
        assert pending(writer) == 0

    run(story())


def test_group_when_it_exists_then_goes_on_where_it_is_and_when_it_vanishes_then_says_so(writer: Writer) -> None:
    writer.trades(*range(3))

    async def story() -> None:
        async with member(writer, "a") as messages:
            await messages.begin()
            writer.trades(3, 4)
            assert numbers(await take(messages, 1)) == ["3"]
        writer.trades(5)
        async with member(writer, "a", start="oldest") as messages:
            assert numbers(await take(messages, 3)) == ["3", "4", "5"]
            writer.redis.xgroup_destroy(TRADES, "desk")
            writer.trades(6)
            got = await take(messages, 2)
            assert isinstance(got[0], Missed)
            assert (got[0].cause, got[0].entries) == (Cause.FORGOTTEN, None)
            assert numbers(got) == ["6"]

    run(story())


# ---- snapshot


def test_snapshot_when_asked_then_gives_the_newest_of_every_venue(writer: Writer) -> None:
    perpetual = "BTC-USDT-PERP"
    latest = {
        "trades:binance": trade(4),
        "trades:okx": trade(5, venue="okx"),
        "orderbook:okx": book(venue="okx"),
        "funding:bybit": {"venue": "bybit", "rate": "-0.0001", "next_ts": str(START_MS), "interval_hours": "8",
                          "ts": str(START_MS), "recv": str(START_MS)},
        "open_interest:bybit": {"venue": "bybit", "base": "1234.5", "ts": str(START_MS), "recv": str(START_MS)},
        "open_interest:okx": {"venue": "okx", "base": "many", "ts": str(START_MS), "recv": str(START_MS)},
    }  # fmt: skip
    for where, fields in latest.items():
        writer.redis.hset(f"latest:{where}:{perpetual}", mapping=fields)
    writer.redis.hset("latest:trades:binance:BTC-USDT", mapping=trade(1))

    async def story() -> None:
        async with data(writer) as committee:
            now = await committee.snapshot(perpetual)
            assert {venue: one.trade_id for venue, one in now.trades.items()} == {"binance": "4", "okx": "5"}
            assert set(now.orderbook) == {"okx"}
            assert (now.funding["bybit"].rate, now.funding["bybit"].interval_hours) == (Decimal("-0.0001"), 8)
            assert now.open_interest["bybit"].base == Decimal("1234.5")
            assert [(one.channel, one.field) for one in now.unreadable] == [(f"{perpetual}:open_interest", "base")]
            assert (now.liquidations, now.volatility, now.arbitrage) == ({}, {}, None)
            assert set((await committee.snapshot(perpetual, venues=["okx"])).trades) == {"okx"}
            assert (await committee.snapshot("ETH-USDT")).trades == {}
            with pytest.raises(UserError, match="no channel 'BTC-XYZ:trades'"):
                await committee.snapshot("BTC-XYZ")

    run(story())


def test_snapshot_when_of_an_asset_or_an_option_then_gives_its_volatility(writer: Writer) -> None:
    common = {"venue": "deribit", "ts": str(START_MS), "recv": str(START_MS)}
    writer.redis.hset("latest:volatility:deribit:BTC", mapping={**common, "kind": "index", "value": "45"})
    option = "BTC-27MAR26-100000-C"
    quote = {**common, "kind": "option", "instrument": option, "mark_iv": "50.1", "delta": "-0.25"}
    writer.redis.hset(f"latest:volatility:deribit:{option}", mapping=quote)
    edge = {"buy": "okx", "sell": "bybit", "buy_price": "1", "sell_price": "2", "gross_bps": "9", "net_bps": "1"}
    writer.redis.hset("latest:arbitrage:all:BTC-USDT", mapping={**edge, "ts": str(START_MS), "recv": str(START_MS)})
    writer.redis.hset("latest:cross_venue:all:BTC-USDT", mapping={
        "bid_venue": "binance", "bid": "101", "ask_venue": "okx", "ask": "100", "spread_bps": "-99.5",
        "difference_bps": '{"binance":"0.5","okx":"-0.5"}', "latency_ms": '{"binance":-3,"okx":40}',
        "skew_ms": '{"binance":-3,"okx":0}', "ts": str(START_MS), "recv": str(START_MS),
    })  # fmt: skip

    async def story() -> None:
        async with data(writer) as committee:
            index = (await committee.snapshot("BTC")).volatility["deribit"]
            assert isinstance(index, VolatilityIndex)
            assert index.value == 45
            found = (await committee.snapshot(option)).volatility["deribit"]
            assert isinstance(found, OptionQuote)
            assert (found.instrument, found.delta, found.bid_iv) == (option, Decimal("-0.25"), None)
            now = await committee.snapshot("BTC-USDT")
            assert now.arbitrage is not None
            assert now.cross_venue is not None
            assert (now.arbitrage.net_bps, now.cross_venue.spread_bps) == (1, Decimal("-99.5"))
            assert now.cross_venue.difference_bps == {"binance": Decimal("0.5"), "okx": Decimal("-0.5")}
            assert now.cross_venue.latency_ms == {"binance": -3, "okx": 40}
            some = await committee.snapshot("BTC-USDT", venues=["okx", "bybit"])
            assert (some.arbitrage, some.cross_venue) == (now.arbitrage, None)

    run(story())


# ---- the example agent


def test_example_agent_when_redis_is_killed_meanwhile_then_goes_on_and_says_what_it_knows(
    server: Server, tmp_path: Path
) -> None:
    writer = Writer(server.connection)
    length = timedelta(seconds=2)
    begin = milliseconds(floor(datetime.now(UTC), length) - 5 * length)
    for number in range(8):
        at = begin - START_MS + number * 500
        writer.trades(number, at=at, price=str(60000 + number), side="buy" if number % 4 else "sell")
        writer.add(BOOK, book(), at=at)
    writer.trades(7, at=at)  # twice

    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"redis_committee": asdict(server.connection)}))
    agent = subprocess.Popen(
        [sys.executable, "-m", "coinswarm.clients.example_agent", "BTC-USDT", "--seconds", "2", "--start", "oldest"],
        env={**os.environ, "COINSWARM_CONNECTIONS": str(file)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert agent.stdout is not None
        first, second = json.loads(agent.stdout.readline()), json.loads(agent.stdout.readline())
        assert (first["trades"], first["volume"], first["complete"], first["decision"]) == (4, "0.00400", False, "wait")
        assert (first["vwap"], first["trade_imbalance"], first["spread_bps"]) == (
            "60001.50000000",
            "0.500000",
            "0.249997",
        )
        assert first["volatility_bps"] == pytest.approx(1 / 3, rel=1e-3)
        assert (second["trades"], second["complete"], second["decision"]) == (4, True, "buy")

        server.kill()
        server.start()
        before = datetime.now(UTC)
        writer.trades(100)
        line: dict[str, Any] = {"trades": 0}
        while not line["trades"]:
            line = json.loads(agent.stdout.readline())
        assert (line["trades"], line["volume"]) == (1, "0.00100")
        assert datetime.fromisoformat(line["start"]) > before - length
        agent.send_signal(signal.SIGTERM)
        _, told = agent.communicate(timeout=60)
        assert (agent.returncode, "Traceback" in told) == (0, False), told
    finally:
        if agent.poll() is None:
            agent.kill()
            agent.communicate()


def test_python_of_the_page_when_run_as_it_stands_then_prints_what_comes(writer: Writer, tmp_path: Path) -> None:
    page = (ROOT / "include/coinswarm/clients/README.md").read_text("utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.M | re.S)
    file = tmp_path / "connections.json"
    file.write_text(json.dumps({"redis_committee": asdict(writer.connection)}))
    writer.redis.hset("latest:orderbook:okx:BTC-USDT", mapping=book(venue="okx"))
    watching = subprocess.Popen(
        [sys.executable, "-u", "-c", example],
        env={**os.environ, "COINSWARM_CONNECTIONS": str(file)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline() == "best bids {'okx': '60000.0'}\n"
        # It listens from now on, and now is not told to us.
        printed: set[str] = set()
        stop = threading.Event()
        writing = threading.Thread(target=_write_until, args=(writer, stop))
        writing.start()
        try:
            while len(printed) < 2:
                printed.add(watching.stdout.readline())
        finally:
            stop.set()
            writing.join()
        assert printed == {"okx sell 60.0001000\n", "binance spread 0.249997\n"}
    finally:
        watching.kill()
        watching.communicate()


def _write_until(writer: Writer, stop: threading.Event) -> None:
    while not stop.wait(0.05):
        writer.trades(1, venue="bybit")
        writer.trades(2, venue="okx", side="sell")
        writer.add(BOOK, book())
