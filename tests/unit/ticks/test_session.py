"""A session's sockets come and go: what is called again when, and what is said of the time between."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from picows import WSMsgType
from tests.unit.ticks.sessions import session_of

from coinswarm.ticks.gaps import Gap, GapReason
from coinswarm.ticks.model import Channel, Goodbye, Trade
from coinswarm.ticks.session import Link, Session
from coinswarm.ticks.verdicts import Verdict

pytestmark = pytest.mark.unit

PERP = "BTC-USDT-PERP"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _ticker(kind: str, ts: int, **fields: str) -> bytes:
    return json.dumps(
        {"topic": "tickers.BTCUSDT", "type": kind, "ts": ts, "data": {"symbol": "BTCUSDT", **fields}}
    ).encode()


class Frame:
    """As picows gives it."""

    def __init__(self, payload: bytes, kind: WSMsgType = WSMsgType.TEXT, *, last: bool = True) -> None:
        self.payload, self.msg_type, self.last_in_buffer, self.fin = payload, kind, last, True

    def get_payload_as_bytes(self) -> bytes:
        return self.payload


async def _running(session: Session, links: Iterator[Link], seconds: float) -> int:
    """Let it run; how many sockets it asked for."""
    asked = 0

    async def connect() -> Link:
        nonlocal asked
        asked += 1
        return next(links)

    session._connect = connect  # type: ignore[method-assign]
    task = asyncio.ensure_future(session.run())
    await asyncio.sleep(seconds)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return asked


def test_venue_that_closes_what_it_accepts_is_not_called_at_once_again() -> None:
    session, _ = session_of("bybit_linear")

    def closing() -> Iterator[Link]:
        while True:
            link = Link(session)
            link.close("closed by the venue (1008 too many connections)")
            yield link

    # At first after a quarter of a second at least, and twice that the next time.
    assert asyncio.run(_running(session, closing(), 0.3)) <= 2


def test_socket_that_closes_before_its_successor_has_heard_anything_leaves_a_gap() -> None:
    session, told = session_of("binance_usdm", 1)

    async def run() -> Link:
        old, new = Link(session), Link(session)

        async def end() -> None:
            await asyncio.sleep(0.02)
            old.control(Goodbye("serverShutdown"))
            await asyncio.sleep(0.02)
            old.close("closed by the venue")

        ending = asyncio.ensure_future(end())
        await _running(session, iter((old, new)), 0.2)
        await ending
        return new

    new = asyncio.run(run())
    assert not new.warm
    stopped = {(gap.symbol, gap.channel, gap.reason) for gap in told}
    assert {(PERP, channel, GapReason.DISCONNECT) for channel in ("trades", "liquidations", "funding")} <= stopped


def test_rates_that_a_delta_leaves_out_stay_among_the_newest_fields() -> None:
    session, _ = session_of("bybit_linear")
    snapshot = _ticker("snapshot", 1, markPrice="100", fundingRate="0.0001", nextFundingTime="1700006400000")
    feed = session.feeds.get(Channel.FUNDING, PERP)
    link = Link(session)
    link.take_charge()
    for frame in (snapshot, _ticker("delta", 2, markPrice="101")):
        session.feeds.take(link, session.venue.decode(frame), 3)
    newest = feed.latest()
    assert newest is not None
    assert (newest["rate"], newest["mark"], newest["ts"]) == ("0.0001", "101", "2")
    assert feed.latest() is None
    session.feeds.take(link, session.venue.decode(_ticker("delta", 4, markPrice="102")), 5)
    feed.repeat_latest()  # the flush of the first was refused
    assert (feed.latest() or {})["mark"] == "102"


def test_rate_that_changed_before_a_socket_took_over_is_written() -> None:
    session, _ = session_of("bybit_linear")
    link = Link(session)
    for frame in (_ticker("delta", 1, fundingRate="0.0002"), _ticker("delta", 2, markPrice="101")):
        link.hold(session.venue.decode(frame), 3)
    link.take_charge()
    written = [one for one in session.feeds._writer.pending if f"funding:{PERP}" in one]
    assert ["0.0002" in one for one in written] == [True, False]


def test_frame_behind_a_control_frame_is_stamped_when_it_came() -> None:
    session, _ = session_of("bybit_linear")

    async def run() -> tuple[list[int], int]:
        link, stamps = Link(session), []
        link._take = lambda _, events, recv_ms: stamps.append(recv_ms)
        message: Any = Frame(b'{"op":"pong"}', last=False)
        for _ in range(2):
            link.on_ws_frame(None, message)  # type: ignore[arg-type]
        link.on_ws_frame(None, Frame(b"", WSMsgType.PONG))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        before = _now_ms()
        link.on_ws_frame(None, message)  # type: ignore[arg-type]
        return stamps, before

    (first, second, third), before = asyncio.run(run())
    assert first == second
    assert third >= before


def test_minutes_that_a_sleeping_machine_did_not_hear_are_not_clean() -> None:
    session, told = session_of("bybit_linear")
    link, now_ms = Link(session), _now_ms()
    asleep = now_ms - 600_000
    for feed in session.own_feeds():
        feed.minutes.begin(asleep - 600_000)
        feed.heard_ms = asleep
        feed.minutes.roll(asleep, asleep)
    for live in link.books._books.values():
        live.valid = True
    link.take_charge()
    link.heard_ms = asleep
    link.close("broke")
    session._went_down(link)
    for feed in session.own_feeds():
        session.feeds.resumed(feed, now_ms)
        feed.minutes.roll(now_ms, now_ms)
    within = range(asleep // 60_000 + 1, now_ms // 60_000)
    judged = [row for row in session.feeds.verdicts(now_ms + 130_000) if row.minute_ms // 60_000 in within]
    assert {row.channel for row in judged} >= {"trades", "orderbook", "liquidations"}
    assert {row.verdict for row in judged} == {Verdict.MISSING}
    assert {gap.opened_ms for gap in told if gap.channel != "funding"} == {asleep}


def test_socket_that_replaces_another_without_its_books_leaves_a_gap_of_them() -> None:
    session, told = session_of("binance_spot")
    Link(session).take_charge()
    books = [feed for feed in session.own_feeds() if feed.channel is Channel.BOOK]
    for feed in books:
        session.feeds.resumed(feed, 1)
    Link(session).take_charge(replaces=True)
    assert {(gap.channel, gap.reason) for gap in told} == {("orderbook", GapReason.DISCONNECT)}
    assert len(told) == len(books)


def test_first_number_of_all_does_not_say_that_nothing_was_missed() -> None:
    session, told = session_of("binance_spot")
    link, feed = Link(session), session.feeds.trades["ETH-BTC"]
    link.take_charge()
    session.feeds.interrupted(feed, GapReason.CRASH, 1_000)
    session.feeds.resumed(feed, 2_000)
    session.feeds.take(link, (Trade("ETH-BTC", "1", "1", "buy", 3_000, "5000", 5000, 5000),), 3_000)
    assert [(gap.state, gap.missing, gap.closed_ms is None) for gap in told] == [
        ("open", None, True),
        ("open", None, False),
    ]


def _ended(told: list[Gap], channel: Channel) -> list[Gap]:
    return [gap for gap in told if gap.channel == channel.value and gap.closed_ms is not None]


def test_frame_of_unnumbered_trades_that_cannot_be_read_is_a_gap_and_a_storm_of_them_is_one() -> None:
    session, told = session_of("bybit_linear")
    link = Link(session)
    link.take_charge()
    sizes = [{"T": 1, "s": "BTCUSDT", "S": "Buy", "v": size, "p": "100", "i": size} for size in ("1", "0", "2")]
    frame: Any = Frame(json.dumps({"topic": "publicTrade.BTCUSDT", "ts": 1, "data": sizes}).encode())
    for _ in range(50):
        link.on_ws_frame(None, frame)  # type: ignore[arg-type]
    assert session.counters.malformed == 50
    assert not _ended(told, Channel.TRADES)
    session.feeds.verdicts(_now_ms() + 1_000)
    gap, *others = [gap for gap in _ended(told, Channel.TRADES) if gap.symbol == PERP]
    assert (gap.reason, gap.missing, gap.state, others) == (GapReason.MALFORMED, None, "open", [])
    assert {one.channel for one in told} == {"trades", "liquidations"}


def test_entries_that_redis_rejects_are_a_gap_of_their_stream_alone() -> None:
    session, told = session_of("bybit_linear")
    session.feeds.rejected({f"trades:{PERP}": "WRONGTYPE"}, 1_000, 2_000)
    session.feeds.rejected({f"trades:{PERP}": "WRONGTYPE"}, 2_000, 2_500)
    session.feeds.verdicts(3_600)
    assert [(gap.symbol, gap.channel, gap.reason, gap.opened_ms, gap.closed_ms) for gap in told] == [
        (PERP, "trades", GapReason.REDIS, 1_000, None),
        (PERP, "trades", GapReason.REDIS, 1_000, 2_500),
    ]


def test_entries_that_redis_rejects_stay_missing_though_the_numbers_go_on() -> None:
    session, told = session_of("binance_spot")
    link, feed = Link(session), session.feeds.trades["ETH-BTC"]
    link.take_charge()

    def trade(number: int) -> tuple[Trade]:
        return (Trade("ETH-BTC", "1", "1", "buy", 1_000 + number, str(number), number, number),)

    session.feeds.take(link, trade(1), 1_001)
    session.feeds.take(link, trade(2), 1_002)
    session.feeds.rejected({"trades:ETH-BTC": "WRONGTYPE"}, 1_001, 1_002)
    session.feeds.interrupted(feed, GapReason.DISCONNECT, 1_010)
    session.feeds.rejected({"trades:ETH-BTC": "WRONGTYPE"}, 1_002, 1_011)
    session.feeds.resumed(feed, 1_020)
    session.feeds.take(link, trade(3), 1_021)
    newest = {gap.gap_id: gap for gap in told}
    assert [(gap.reason, gap.state, gap.opened_ms, gap.missing) for gap in newest.values()] == [
        (GapReason.REDIS, "open", 1_001, None),
        (GapReason.DISCONNECT, "repaired", 1_010, 0),
        (GapReason.REDIS, "open", 1_002, None),
    ]
    assert all(gap.closed_ms is not None for gap in newest.values())


def test_trades_are_not_kept_for_a_book_that_is_away() -> None:
    session, _ = session_of("bybit_linear")
    feed, book = session.feeds.trades[PERP], session.feeds.get(Channel.BOOK, PERP)
    feed.flow = []
    session.feeds.interrupted(book, GapReason.DISCONNECT, 1_000)
    assert feed.flow is None
