"""Each kind of stream fault through venue, pump, Redis and ledger: what is said about it, by gap and by minute."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from tests.integration.conftest import Store
from tests.integration.ticks.chain import Chain, chain, now_ms, wait_for
from tests.integration.ticks.pumps import client
from tests.integration.ticks.trade_streams import trade_streams

from coinswarm.sandbox.streams.faults import KINDS
from coinswarm.storage import database
from coinswarm.ticks.ledger import at
from coinswarm.ticks.shards import SHARDS, connections_of
from coinswarm.ticks.verdicts import GRACE_MS, MINUTE_MS

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
    {"kind": "disconnect", "host": "stream.bybit.com*", "path": "*/spot", "channel": "trades", "count": 1},
    {"kind": "wrong_path", "host": "www.deribit.com*", "channel": "orderbook", "symbol": "BTC-PERPETUAL", "count": 1},
    {"kind": "freeze", "host": "fstream.binance.com*", "channel": "orderbook", "symbol": "BTCUSDT", "seconds": 40},
    {"kind": "freeze", "host": "fstream.binance.com*", "channel": "trades", "symbol": "BTCUSDT", "seconds": 75},
)
SILENT = (
    ("deribit", "BTC-USD-PERP", "orderbook"),
    ("binance", "BTC-USDT-PERP", "orderbook"),
    ("binance", "BTC-USDT-PERP", "trades"),
)
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
    """What came of all faults. Minutes before `since` are not whole: the pump began in the last of them."""

    gaps: list[Gap]
    verdicts: list[Said]
    trades: dict[tuple[str, str], list[str]]
    counters: dict[str, dict[str, str]]
    since: datetime

    def gaps_of(self, venue: str, symbol: str, channel: str = "trades") -> list[Gap]:
        return [gap for gap in self.gaps if gap[:3] == (venue, symbol, channel)]

    def said_of(self, venue: str, symbol: str, channel: str = "trades") -> list[Said]:
        return [said for said in self.verdicts if said[:3] == (venue, symbol, channel) and said.minute >= self.since]

    def said_at(self, gap: Gap) -> Said:
        """The verdict on the minute in which a gap begins, or the first whole one: the last event may be older."""
        start = max(gap.opened_at.replace(second=0, microsecond=0), self.since)
        (said,) = [said for said in self.said_of(*gap[:3]) if said.minute == start]
        return said

    def lacking(self, venue: str, symbol: str) -> set[int]:
        """Numbers that are not in Redis, between the lowest and the highest that are."""
        have = set(map(int, self.trades[venue, symbol]))
        return set(range(min(have), max(have) + 1)) - have


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
        wait_for(lambda: _all_struck(running), lambda: str(running.control("state")["stream_faults"]))
        struck = now_ms() // MINUTE_MS * MINUTE_MS

        def judged() -> bool:
            known = [said for said in rows(_VERDICTS) if said[2] == "trades" and said[3] == at(struck)]
            return {said[:2] for said in known} >= {*HARMLESS}

        wait_for(judged, lambda: f"a verdict on {at(struck)}", 150 + GRACE_MS / 1000)
        wait_for(lambda: _heard_again(rows(_GAPS)), lambda: f"the end of silence in {rows(_GAPS)}")
        assert running.pump.stop() == 0
        trades, counters = _in_redis(running)
    gaps = [Gap(*row) for row in rows(_GAPS)]
    return Spoilt(gaps, [Said(*row) for row in rows(_VERDICTS)], trades, counters, at(since))


def _all_struck(running: Chain) -> bool:
    rules = running.control("state")["stream_faults"]
    kinds = {name.split()[0] for name in running.control("state")["streams"]["struck"]}
    return kinds == set(KINDS) and not any(rule["count"] for rule in rules)


def _heard_again(gaps: list[tuple[Any, ...]]) -> bool:
    return {gap[:3] for gap in gaps if gap[3] == "silence" and gap[6] is not None} >= {*SILENT}


def _in_redis(running: Chain) -> tuple[dict[tuple[str, str], list[str]], dict[str, dict[str, str]]]:
    trades: dict[tuple[str, str], list[str]] = {}
    with client(running.redis.connection) as redis_client:
        for key in redis_client.scan_iter("trades:*"):
            for _, fields in redis_client.xrange(key):
                number = fields.get("seq") or fields["id"]
                trades.setdefault((fields["venue"], key.partition(":")[2]), []).append(number)
        return trades, {shard: redis_client.hgetall(f"ticks:stats:{shard}") for shard in SHARDS}


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


@pytest.mark.parametrize(("venue", "symbol", "channel"), SILENT)
def test_freeze_and_wrong_path_when_a_stream_says_nothing_then_it_is_found_within_twice_its_usual_silence(
    venue: str, symbol: str, channel: str, spoilt: Spoilt
) -> None:
    gap = next(gap for gap in spoilt.gaps_of(venue, symbol, channel) if gap.reason == "silence")
    quiet_ms = _quiet_ms(venue, symbol, channel)
    assert quiet_ms <= gap.detail["silent_ms"] <= 2 * quiet_ms
    assert gap.closed_at is not None
    assert gap.closed_at - gap.opened_at >= timedelta(milliseconds=gap.detail["silent_ms"])
    assert spoilt.said_at(gap).verdict in {"suspect", "missing"}


def test_freeze_when_trades_are_numbered_then_its_gap_is_closed_with_counts(spoilt: Spoilt) -> None:
    (gap,) = spoilt.gaps_of("binance", "BTC-USDT-PERP")
    assert gap.missing is not None
    assert spoilt.lacking("binance", "BTC-USDT-PERP") == set(range(int(gap.first or 0), int(gap.last or 0) + 1))
    assert gap.missing == len(spoilt.lacking("binance", "BTC-USDT-PERP")) > 0


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


@pytest.mark.parametrize("symbol", ["BTC-USDT", "ETH-USDT"])
def test_disconnect_when_trades_have_no_numbers_then_the_gap_has_its_times_only_and_stays_open(
    symbol: str, spoilt: Spoilt
) -> None:
    (gap,) = spoilt.gaps_of("bybit", symbol)
    assert (gap.reason, gap.state, gap.missing, gap.first, gap.last) == ("disconnect", "open", None, None, None)
    assert gap.closed_at is not None
    assert "reconnect" in spoilt.said_at(gap).troubles


@pytest.mark.parametrize("symbol", ["BTC-USDT-PERP", "ETH-USDT-PERP"])
def test_stream_without_numbers_when_nothing_happens_then_it_is_clean_and_never_verified(
    symbol: str, spoilt: Spoilt
) -> None:
    assert spoilt.gaps_of("bybit", symbol) == []
    assert {said.verdict for said in spoilt.said_of("bybit", symbol)} == {"clean"}
