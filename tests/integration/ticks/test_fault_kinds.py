"""Each kind of stream fault through venue, pump, Redis and ledger: what is said about it, by gap and by minute."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from tests.integration.conftest import Store
from tests.integration.ticks.chain import Chain, chain, now_ms, wait_for
from tests.integration.ticks.pumps import client
from tests.integration.ticks.trade_streams import TradeStream, trade_streams

from coinswarm.sandbox.streams.faults import KINDS
from coinswarm.storage import database
from coinswarm.ticks.ledger import at
from coinswarm.ticks.shards import SHARDS, connections_of
from coinswarm.ticks.verdicts import MINUTE_MS

pytestmark = pytest.mark.integration

# All at once, on connections that do not disturb each other.
RULES: tuple[dict[str, Any], ...] = (
    {"kind": "drop", "host": "stream.binance.com*", "channel": "trades", "symbol": "BTCUSDT", "count": 3},
    {"kind": "duplicate", "host": "stream.binance.com*", "channel": "trades", "symbol": "ETHUSDT", "count": 3},
    {"kind": "reorder", "host": "stream.binance.com*", "channel": "trades", "symbol": "ETHBTC", "count": 2},
    {"kind": "bad_checksum", "host": "ws.kraken.com*", "channel": "orderbook", "symbol": "XXBTZUSD", "count": 1},
    {"kind": "drip", "host": "ws.kraken.com*", "channel": "trades", "symbol": "XETHZUSD", "count": 1},
    {"kind": "flood", "host": "futures.kraken.com*", "channel": "trades", "count": 1, "factor": 10},
    {"kind": "cut", "host": "advanced-trade-ws.coinbase.com*", "channel": "trades", "symbol": "BTC-USD", "count": 1},
    {"kind": "disconnect", "host": "ws.okx.com*", "path": "*/business", "channel": "trades", "count": 1},
    {"kind": "disconnect", "host": "stream.bybit.com*", "path": "*/linear", "channel": "trades", "count": 1},
    {"kind": "wrong_path", "host": "www.deribit.com*", "channel": "orderbook", "symbol": "BTC-PERPETUAL", "count": 1},
    {"kind": "freeze", "host": "fstream.binance.com*", "channel": "orderbook", "symbol": "BTCUSDT", "seconds": 40},
)
SILENT_BOOKS = (("deribit", "BTC-USD-PERP"), ("binance", "BTC-USDT-PERP"))
# One of them is frozen: one that trades, since some markets rest for a minute, and silence is then no fault.
FREEZABLE = [one for one in trade_streams() if one.host == "fstream.binance.com"]
FREEZE_SECONDS = 75
# Markets may rest before the next trade shows what happened to the last.
PATIENCE_SECONDS = 240
HARMLESS = (
    ("binance", "ETH-USDT"),
    ("binance", "ETH-BTC"),
    ("kraken", "ETH-USD"),
    ("kraken", "BTC-USD-PERP"),
    ("kraken", "ETH-USD-PERP"),
)
ALL_OF_OKX = [one.instrument.symbol for one in trade_streams() if one.instrument.source == "okx"]
_GAPS = """
    SELECT venue, symbol, channel, reason, state, opened_at, closed_at, first_missing, last_missing, missing_count,
        repaired_count, detail
    FROM ops.stream_gaps_current ORDER BY opened_at
"""
_VERDICTS = """
    SELECT venue, symbol, channel, minute, verdict, gaps, coalesce(detail -> 'troubles', '[]'::jsonb)
    FROM ops.stream_verdicts_current ORDER BY minute
"""


class Gap(NamedTuple):
    venue: str
    symbol: str
    channel: str
    reason: str
    state: str
    opened_at: datetime
    closed_at: datetime | None
    first: str | None
    last: str | None
    missing: int | None
    repaired: int
    detail: dict[str, Any]


class Said(NamedTuple):
    venue: str
    symbol: str
    channel: str
    minute: datetime
    verdict: str
    gaps: int
    troubles: list[str]


@dataclass(frozen=True)
class Spoilt:
    """What came of all faults, in the minutes from `since` (the one before is not whole) to `until`."""

    gaps: list[Gap]
    verdicts: list[Said]
    trades: dict[tuple[str, str], list[str]]
    counted: dict[str, tuple[int, int]]
    """Trades of Bybit's perpetuals that the venue made, and those that are in Redis, between the first and the last."""
    counters: dict[str, dict[str, str]]
    since: datetime
    until: datetime
    frozen: str

    def gaps_of(self, venue: str, symbol: str, channel: str = "trades") -> list[Gap]:
        return [gap for gap in self.gaps if gap[:3] == (venue, symbol, channel)]

    def said_of(self, venue: str, symbol: str, channel: str = "trades") -> list[Said]:
        known = [said for said in self.verdicts if self.since <= said.minute <= self.until]
        return [said for said in known if said[:3] == (venue, symbol, channel)]

    def said_at(self, gap: Gap) -> Said:
        """The verdict on the minute in which a gap begins, or the first whole one: the last event may be older."""
        start = max(gap.opened_at.replace(second=0, microsecond=0), self.since)
        (said,) = [said for said in self.said_of(*gap[:3]) if said.minute == start]
        return said

    def lacking(self, venue: str, symbol: str) -> set[int]:
        """Numbers that are not in Redis, between the lowest and the highest that are."""
        have = set(map(int, self.trades.get((venue, symbol), ())))
        return set(range(min(have), max(have) + 1)) - have if have else set()


@pytest.fixture(scope="module")
def spoilt(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Spoilt:
    def rows(statement: str) -> list[tuple[Any, ...]]:
        with database.connect(store.warehouse.auditor) as connection:
            return connection.execute(statement).fetchall()

    with chain(store, tmp_path_factory.mktemp("chain")) as running:
        running.pump.start()
        running.wait_until_live()
        running.wait_until_traded(trade_streams())
        since = (now_ms() // MINUTE_MS + 1) * MINUTE_MS
        wait_for(lambda: now_ms() >= since, lambda: "the next minute")
        for rule in RULES:
            running.spoil(rule)
        frozen = _freeze_one(running, since)
        wait_for(lambda: _all_struck(running), lambda: str(running.control("state")), PATIENCE_SECONDS)
        until = now_ms() // MINUTE_MS * MINUTE_MS

        def judged() -> bool:
            known = [Said(*row) for row in rows(_VERDICTS) if row[2] == "trades" and row[3] == at(until)]
            return {said[:2] for said in known if said.verdict != "clean"} >= {*HARMLESS}

        def heard_again() -> bool:
            gaps = [Gap(*row) for row in rows(_GAPS)]
            silent = {gap[:3] for gap in gaps if gap.reason == "silence"}
            refilled = all(gap.state == "repaired" for gap in gaps if gap.venue == "bybit" and gap.channel == "trades")
            return len(silent) == len(SILENT_BOOKS) + 1 and all(gap.closed_at for gap in gaps) and refilled

        wait_for(judged, lambda: f"a verdict on {at(until)}", PATIENCE_SECONDS)
        wait_for(heard_again, lambda: f"the end of {rows(_GAPS)}", PATIENCE_SECONDS)
        assert running.pump.stop() == 0
        trades, counters = _in_redis(running)
        counted = dict(_counted(running))
    gaps, verdicts = [Gap(*row) for row in rows(_GAPS)], [Said(*row) for row in rows(_VERDICTS)]
    return Spoilt(gaps, verdicts, trades, counted, counters, at(since), at(until), frozen)


def _freeze_one(running: Chain, since_ms: int) -> str:
    """Freeze the trades of a market that trades in this minute; its symbol."""

    def trading() -> list[TradeStream]:
        return [one for one in FREEZABLE if running.control("ticks", **one.query, start=since_ms)["count"]]

    wait_for(trading, lambda: "a trade", PATIENCE_SECONDS)
    chosen = trading()[0]
    running.spoil({"kind": "freeze", "channel": "trades", "seconds": FREEZE_SECONDS, **chosen.place})
    return chosen.instrument.symbol


def _all_struck(running: Chain) -> bool:
    rules = running.control("state")["stream_faults"]
    kinds = {name.split()[0] for name in running.control("state")["streams"]["struck"]}
    return kinds == set(KINDS) and not any(rule["count"] for rule in rules)


def _in_redis(running: Chain) -> tuple[dict[tuple[str, str], list[str]], dict[str, dict[str, str]]]:
    trades: dict[tuple[str, str], list[str]] = {}
    with client(running.redis.connection) as redis_client:
        for key in redis_client.scan_iter("trades:*"):
            for _, fields in redis_client.xrange(key):
                number = fields.get("seq") or fields["id"]
                trades.setdefault((fields["venue"], key.partition(":")[2]), []).append(number)
        return trades, {shard: redis_client.hgetall(f"ticks:stats:{shard}") for shard in SHARDS}


def _counted(running: Chain) -> Iterator[tuple[str, tuple[int, int]]]:
    for stream in trade_streams():
        if (stream.instrument.source, stream.instrument.market) != ("bybit", "linear"):
            continue
        with client(running.redis.connection) as redis_client:
            entries = redis_client.xrange(f"trades:{stream.instrument.symbol}")
        times = sorted(int(fields["ts"]) for _, fields in entries if fields["venue"] == "bybit")
        start, end = times[0] + 1, times[-1]
        produced = running.control("ticks", **stream.query, start=start, end=end)["count"]
        yield stream.instrument.symbol, (produced, sum(start <= at < end for at in times))


def _quiet_ms(venue: str, symbol: str, channel: str) -> float:
    (seconds,) = [
        stream.quiet_seconds
        for shard in SHARDS
        for one in connections_of(shard)
        for stream in one.streams
        if (one.slug, stream.symbol, stream.channel.value) == (venue, symbol, channel)
    ]
    return seconds * 1000


def test_drop_when_trades_are_numbered_then_a_gap_names_them_and_the_minute_is_suspect(spoilt: Spoilt) -> None:
    gaps = spoilt.gaps_of("binance", "BTC-USDT")
    assert [(gap.reason, gap.state, gap.repaired) for gap in gaps] == [("sequence", "open", 0)]
    (gap,) = gaps
    assert gap.missing == 3
    assert spoilt.lacking("binance", "BTC-USDT") == set(range(int(gap.first or 0), int(gap.last or 0) + 1))
    said = spoilt.said_at(gap)
    assert said.verdict == "suspect"
    assert "hole" in said.troubles


@pytest.mark.parametrize(("venue", "symbol"), HARMLESS)
def test_what_loses_nothing_when_it_is_over_then_every_trade_is_there_once_and_minutes_are_verified(
    venue: str, symbol: str, spoilt: Spoilt
) -> None:
    numbers = spoilt.trades[venue, symbol]
    assert spoilt.lacking(venue, symbol) == set()
    assert len(numbers) == len(set(numbers))
    assert [gap for gap in spoilt.gaps_of(venue, symbol) if gap.state != "repaired"] == []
    said = spoilt.said_of(venue, symbol)
    assert {one.verdict for one in said} == {"verified"}, said
    assert {one.gaps for one in said} == {0}


def test_duplicate_when_it_struck_then_it_was_counted_and_not_written(spoilt: Spoilt) -> None:
    assert int(spoilt.counters["binance_spot"]["trade_duplicates"]) == 3
    assert spoilt.gaps_of("binance", "ETH-USDT") == []


def test_reorder_when_it_struck_then_its_gap_is_closed_by_the_late_trade(spoilt: Spoilt) -> None:
    numbers = list(map(int, spoilt.trades["binance", "ETH-BTC"]))
    assert numbers != sorted(numbers)
    gaps = spoilt.gaps_of("binance", "ETH-BTC")
    assert {(gap.reason, gap.state) for gap in gaps} == {("sequence", "repaired")}
    assert [gap.repaired for gap in gaps] == [gap.missing for gap in gaps]


def test_bad_checksum_when_a_book_fails_it_then_it_is_built_anew_and_the_minute_is_suspect(spoilt: Spoilt) -> None:
    (gap,) = spoilt.gaps_of("kraken", "BTC-USD", "orderbook")
    assert (gap.reason, gap.state, gap.missing) == ("checksum", "open", None)
    assert gap.closed_at is not None
    said = spoilt.said_at(gap)
    assert said.verdict == "suspect"
    assert "checksum" in said.troubles
    assert int(spoilt.counters["kraken_spot"]["checksum_failures"]) == 1
    # The trades of the same connection have nothing to do with it.
    assert spoilt.gaps_of("kraken", "BTC-USD") == []


@pytest.mark.parametrize(("venue", "symbol"), SILENT_BOOKS)
def test_freeze_and_wrong_path_when_a_book_says_nothing_then_it_is_found_within_twice_its_usual_silence(
    venue: str, symbol: str, spoilt: Spoilt
) -> None:
    gap = next(gap for gap in spoilt.gaps_of(venue, symbol, "orderbook") if gap.reason == "silence")
    _was_found_in_time(gap)
    assert spoilt.said_at(gap).verdict in {"suspect", "missing"}


def test_freeze_when_trades_are_numbered_then_it_is_found_in_time_and_its_gap_is_closed_with_counts(
    spoilt: Spoilt,
) -> None:
    (gap,) = spoilt.gaps_of("binance", spoilt.frozen)
    _was_found_in_time(gap)
    assert gap.missing is not None
    assert spoilt.lacking("binance", spoilt.frozen) == set(range(int(gap.first or 0), int(gap.last or 0) + 1))
    assert gap.missing == len(spoilt.lacking("binance", spoilt.frozen)) > 0
    assert spoilt.said_at(gap).verdict in {"suspect", "missing"}


def _was_found_in_time(gap: Gap) -> None:
    quiet_ms, silent_ms = _quiet_ms(*gap[:3]), gap.detail["silent_ms"]
    assert quiet_ms <= silent_ms <= 2 * quiet_ms
    assert gap.closed_at is not None
    assert gap.closed_at - gap.opened_at >= timedelta(milliseconds=silent_ms)


def test_cut_when_the_venue_tells_its_past_trades_then_nothing_is_missing(spoilt: Spoilt) -> None:
    (gap,) = spoilt.gaps_of("coinbase", "BTC-USD")
    assert (gap.reason, gap.state, gap.missing, gap.detail["why"]) == ("disconnect", "repaired", 0, "broke")
    assert spoilt.lacking("coinbase", "BTC-USD") == set()
    assert "reconnect" in spoilt.said_at(gap).troubles


@pytest.mark.parametrize("symbol", ALL_OF_OKX)
def test_disconnect_when_trades_are_numbered_then_each_stream_of_the_connection_has_a_gap_with_counts(
    symbol: str, spoilt: Spoilt
) -> None:
    (gap,) = spoilt.gaps_of("okx", symbol)
    assert gap.reason == "disconnect"
    assert "1001" in gap.detail["why"]
    lacking = spoilt.lacking("okx", symbol)
    assert gap.missing == len(lacking)
    assert lacking == (set(range(int(gap.first), int(gap.last) + 1)) if gap.first and gap.last else set())
    assert spoilt.said_at(gap).verdict == "suspect"


@pytest.mark.parametrize("symbol", ["BTC-USDT-PERP", "ETH-USDT-PERP"])
def test_disconnect_when_trades_have_no_numbers_then_what_was_missed_is_asked_for_at_once(
    symbol: str, spoilt: Spoilt
) -> None:
    (gap,) = spoilt.gaps_of("bybit", symbol)
    assert (gap.reason, gap.state, gap.first, gap.last) == ("disconnect", "repaired", None, None)
    assert gap.repaired == gap.missing
    assert gap.closed_at is not None
    names = spoilt.trades["bybit", symbol]
    assert len(names) == len(set(names))
    produced, written = spoilt.counted[symbol]
    assert produced == written > 0
    assert "reconnect" in spoilt.said_at(gap).troubles


@pytest.mark.parametrize("symbol", ["BTC-USDT", "ETH-USDT"])
def test_stream_without_numbers_when_nothing_happens_then_it_is_clean_and_never_verified(
    symbol: str, spoilt: Spoilt
) -> None:
    assert spoilt.gaps_of("bybit", symbol) == []
    assert {said.verdict for said in spoilt.said_of("bybit", symbol)} == {"clean"}
