"""Trades, books and liquidations in the marts, against numbers worked out here from every single trade."""

from __future__ import annotations

import math
import random
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.dbt.raw_rows import insert, insert_verdicts

from coinswarm.orchestration.marts import MARTS, MartRun, NodeResult, RebuiltMart, build_marts, rebuild_marts
from coinswarm.storage import reference

pytestmark = pytest.mark.dbt

DAY = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
HOURS = 5
TICK_MARTS = ("market_aggregates", "positioning_by_venue", "planner_positioning", "liquidation_heatmap")
PERPETUALS = ("binance", "okx")
# In this minute of the third hour one trade was missing at first; the repair found it and proved the minute.
REPAIRED = DAY + 2 * HOUR + 30 * MINUTE
LATE = ("200", "33", "sell")


@dataclass(frozen=True)
class Trade:
    at: datetime
    price: Decimal
    size: Decimal
    side: str

    @property
    def value(self) -> Decimal:
        return self.price * self.size


def trades_of(source: str) -> list[Trade]:
    """Heavy-tailed sizes; one minute of ten is so busy that its bar cannot name all of its trades."""
    chance = random.Random(source)
    found = []
    for n in range(HOURS * 60):
        for _ in range(150 if n % 10 == 3 else chance.randint(1, 4)):
            price = Decimal(chance.randint(9_900, 10_100)) / 100
            size = Decimal(int(chance.paretovariate(1.2) * 100)) / 1000
            seconds = timedelta(seconds=chance.randint(0, 59))
            found.append(Trade(DAY + n * MINUTE + seconds, price, size, chance.choice(("buy", "sell"))))
    return sorted(found, key=lambda trade: trade.at)


def bars_of(trades: list[Trade], step: timedelta) -> dict[datetime, list[Trade]]:
    parts: dict[datetime, list[Trade]] = defaultdict(list)
    for trade in trades:
        parts[DAY + (trade.at - DAY) // step * step].append(trade)
    return dict(parts)


def trade_bar(at: datetime, trades: list[Trade]) -> dict[str, Any]:
    volume, value = sum(t.size for t in trades), sum(t.value for t in trades)
    bought = sum((t.size for t in trades if t.side == "buy"), Decimal(0))
    largest = sorted((t.value for t in trades), reverse=True)[: max(60, math.ceil(len(trades) / 10))]
    return {
        **venue_bar(at, trades),
        "vwap": round(Decimal(value) / volume, 18),
        "volume_quote": value,
        "buy_base": bought,
        "sell_base": volume - bought,
        "buy_count": sum(t.side == "buy" for t in trades),
        "largest_quote": [str(value) for value in largest],
    }


def venue_bar(at: datetime, trades: list[Trade]) -> dict[str, Any]:
    prices = [t.price for t in trades]
    return {
        "event_at": at,
        "open": prices[0],
        "high": max(prices),
        "low": min(prices),
        "close": prices[-1],
        "volume_base": sum(t.size for t in trades),
        "trade_count": len(trades),
    }


@dataclass
class Story:
    """Trades archived with one missing, the repair, verdicts alone, and a venue's bar that is not what was traded."""

    warehouse: Any
    spot: list[Trade]
    late: Trade
    perpetuals: dict[str, list[Trade]]
    first: MartRun
    repaired: MartRun
    idle: MartRun
    judged: MartRun
    wrong: MartRun
    rebuilt: tuple[RebuiltMart, ...] = ()


LIQUIDATIONS = [  # source, time, side, price, size: prices about a bin's edges
    ("binance", DAY + 10 * MINUTE, "long", "100", "2"),
    ("okx", DAY + 11 * MINUTE, "long", "100.01", "1.5"),
    ("okx", DAY + 12 * MINUTE, "short", "100", "3"),
    ("binance", DAY + 20 * MINUTE, "long", "99", "4"),
    ("binance", DAY + HOUR, "long", "100", "7"),
    # In the hour that is running when the marts are first built.
    ("okx", DAY + HOURS * HOUR + MINUTE / 2, "short", "100", "1"),
]


def verdicts(venue: str, symbol: str, channel: str, usual: str) -> list[dict[str, Any]]:
    return [
        {"venue": venue, "symbol": symbol, "channel": channel, "minute": minute, "verdict": verdict}
        for minute in (DAY + n * MINUTE for n in range(HOURS * 60))
        for verdict in ["suspect" if minute == REPAIRED else usual]
    ]


@pytest.fixture(scope="module")
def story(warehouse: Any, dbt_target: Path) -> Story:
    spot = trades_of("coinbase")
    late = Trade(REPAIRED + timedelta(seconds=30), Decimal(LATE[0]), Decimal(LATE[1]), LATE[2])
    with psycopg.connect(warehouse.owner.dsn) as owner:
        reference.load(owner)
        owner.commit()
        known_at = DAY + HOURS * HOUR + MINUTE
        market = {"source": "coinbase", "symbol": "BTC-USD", "known_at": known_at}
        everything = sorted([*spot, late], key=lambda trade: trade.at)
        for timeframe, step in (("1m", MINUTE), ("1h", HOUR)):
            own = [venue_bar(at, parts) for at, parts in bars_of(everything, step).items()]
            insert(owner, "ohlcv", own, timeframe=timeframe, **market)
        insert(owner, "trade_bars", [trade_bar(at, parts) for at, parts in bars_of(spot, MINUTE).items()], **market)
        insert_verdicts(owner, verdicts("coinbase", "BTC-USD", "trades", "verified"), known_at=known_at)
        perpetuals = {}
        for source in PERPETUALS:
            trades = trades_of(source)
            if source == "okx":  # nobody was watching okx in the second hour
                trades = [t for t in trades if not DAY + HOUR <= t.at < DAY + 2 * HOUR]
            perpetuals[source] = trades
            minutes = [trade_bar(at, parts) for at, parts in bars_of(trades, MINUTE).items()]
            insert(owner, "trade_bars", minutes, source=source, symbol="BTC-USDT-PERP", known_at=known_at)
        forced = [
            {
                "source": source,
                "event_at": at,
                "side": side,
                "price": Decimal(price),
                "size_base": Decimal(size),
                "price_kind": "average",
                "is_sampled": source == "binance",
            }
            for source, at, side, price, size in LIQUIDATIONS
        ]
        insert(owner, "liquidations", forced, symbol="BTC-USDT-PERP", known_at=known_at)
        first = build_marts(warehouse.transform, as_of=known_at + MINUTE, target_dir=dbt_target)

        # Days later, so that nothing is looked at again but what is told to have changed.
        repaired_at = known_at + timedelta(days=2)
        minute = [t for t in everything if REPAIRED <= t.at < REPAIRED + MINUTE]
        insert(owner, "trade_bars", [trade_bar(REPAIRED, minute)], **{**market, "known_at": repaired_at})
        proved = {"venue": "coinbase", "symbol": "BTC-USD", "channel": "trades", "minute": REPAIRED}
        insert_verdicts(owner, [{**proved, "verdict": "verified"}], known_at=repaired_at)
        repaired = build_marts(warehouse.transform, as_of=repaired_at + MINUTE, target_dir=dbt_target)
        idle = build_marts(warehouse.transform, as_of=repaired_at + 2 * MINUTE, target_dir=dbt_target)
        judged_at = repaired_at + 3 * MINUTE
        judged = {"symbol": "BTC-USDT-PERP", "verdict": "clean"}
        later = [
            {**judged, "venue": "okx", "channel": "trades", "minute": DAY + 3 * HOUR, "verdict": "verified"},
            {**judged, "venue": "binance", "channel": "liquidations", "minute": DAY + HOUR},
        ]
        insert_verdicts(owner, later, known_at=judged_at)
        judged_run = build_marts(warehouse.transform, as_of=judged_at + MINUTE, target_dir=dbt_target)
        other = {**venue_bar(REPAIRED, minute), "volume_base": sum(t.size for t in minute) + 1}
        insert(owner, "ohlcv", [other], timeframe="1m", **{**market, "known_at": judged_at + 2 * MINUTE})
        wrong = build_marts(warehouse.transform, as_of=judged_at + 3 * MINUTE, target_dir=dbt_target)
        told = Story(warehouse, spot, late, perpetuals, first, repaired, idle, judged_run, wrong)
        day = {"start": DAY, "end": DAY + timedelta(days=1), "target_dir": dbt_target}
        for run in (first, repaired, judged_run):
            told.rebuilt += rebuild_marts(warehouse.transform, as_of=run.as_of, marts=TICK_MARTS, **day)
    return told


def query(story: Story, text: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(story.warehouse.planner.dsn) as planner:
        return planner.execute(text, values).fetchall()


def concentration(trades: list[Trade]) -> Decimal:
    values = sorted((t.value for t in trades), reverse=True)
    share = sum(values[: math.ceil(len(values) / 100)]) / sum(values)
    return round(Decimal(share), 12).normalize()


def delta(trades: list[Trade]) -> Decimal:
    return sum((t.size if t.side == "buy" else -t.size for t in trades), Decimal(0))


MARKET = (
    "select bucket_at, ticks_trade_count, volume_concentration_top1pct, trade_bars_deviation_bps,"
    " ticks_verified_fraction from marts.market_aggregates_asof(%s) where symbol = 'BTC-USD' and timeframe = %s"
    " order by 1"
)


@pytest.mark.parametrize(("timeframe", "step"), [("1h", HOUR), ("4h", 4 * HOUR)])
def test_concentration_when_minutes_name_their_largest_trades_then_is_that_of_all_trades(
    story: Story, timeframe: str, step: timedelta
) -> None:
    everything = sorted([*story.spot, story.late], key=lambda trade: trade.at)
    assert any(len(parts) > 60 for parts in bars_of(everything, MINUTE).values())
    expected = [
        (at, len(parts), concentration(parts), Decimal(0), Decimal(1))
        for at, parts in sorted(bars_of(everything, step).items())
        if at + step <= DAY + HOURS * HOUR
    ]
    assert query(story, MARKET, story.repaired.as_of, timeframe) == expected


def test_repair_when_published_then_its_hour_says_so_and_what_was_known_stays(story: Story) -> None:
    before = {row[0]: row[1:] for row in query(story, MARKET, story.first.as_of, "1h")}
    after = {row[0]: row[1:] for row in query(story, MARKET, story.repaired.as_of, "1h")}
    hour = DAY + 2 * HOUR
    assert {at for at in before if before[at] != after[at]} == {hour}
    trades = [t for t in story.spot if hour <= t.at < hour + HOUR]
    volume = sum(t.size for t in trades)
    lacking = round(-10_000 * story.late.size / (volume + story.late.size), 4).normalize()
    assert before[hour] == (len(trades), concentration(trades), lacking, Decimal("0.983333"))
    assert after[hour][0] == len(trades) + 1
    # A version is appended for the hour and its 4 hours, and for nothing else in the marts of prices.
    assert query(
        story,
        "select timeframe, bucket_at from marts.market_aggregates where known_at = %s order by 1",
        story.repaired.as_of,
    ) == [("1h", hour), ("4h", DAY)]
    assert story.idle.rows == 0


def test_verdict_when_it_is_all_that_is_new_then_its_hour_gets_a_version_in_every_mart_that_tells_it(
    story: Story,
) -> None:
    at = story.judged.as_of
    assert query(
        story,
        "select symbol, source, bucket_at, ticks_verified_fraction, cvd_session_verified_fraction, "
        "liquidations_watched_fraction from marts.positioning_by_venue where known_at = %s and symbol = 'BTC-USDT' "
        "order by bucket_at, source",
        at,
    ) == [
        ("BTC-USDT", "binance", DAY + HOUR, Decimal(0), Decimal(0), Decimal("0.016667")),
        ("BTC-USDT", "okx", DAY + 3 * HOUR, Decimal("0.016667"), Decimal("0.004167"), None),
        ("BTC-USDT", "okx", DAY + 4 * HOUR, Decimal(0), Decimal("0.003333"), None),
    ]
    assert query(
        story,
        "select bucket_at, liquidations_watched_fraction from marts.liquidation_heatmap "
        "where known_at = %s and symbol = 'BTC-USDT'",
        at,
    ) == [(DAY + HOUR, Decimal("0.005556"))]
    assert query(story, "select count(*) from marts.market_aggregates where known_at = %s", at) == [(0,)]


def test_bars_of_trades_when_the_venues_own_differ_then_a_test_warns_and_names_the_minute(story: Story) -> None:
    with psycopg.connect(story.warehouse.auditor.dsn) as auditor:
        checks = auditor.execute(
            "select timeframe, count(*), count(*) filter (where is_verified and is_equal) "
            "from transform.int_ticks__bar_checks where source = 'coinbase' group by 1 order by 1"
        ).fetchall()
        differ = auditor.execute(
            "select timeframe, event_at, close_deviation_bps, volume_deviation_bps < 0, taker_delta_difference_base "
            "from transform.int_ticks__bar_checks where not is_equal"
        ).fetchall()
    assert checks == [("1h", HOURS, HOURS), ("1m", HOURS * 60, HOURS * 60 - 1)]
    assert differ == [("1m", REPAIRED, Decimal(0), True, None)]
    # While the trade was missing its minute was suspect, and the hour not verified: nothing to warn about.
    runs = (story.first, story.repaired, story.wrong)
    node = "assert_trade_bars_equal_the_venues_own"
    assert [node_of(run, node).status for run in runs] == ["pass", "pass", "warn"]


def node_of(run: MartRun, name: str) -> NodeResult:
    return next(node for node in run.nodes if node.name == name)


def test_volume_delta_when_summed_over_trades_then_agrees_and_restarts_with_a_gap(story: Story) -> None:
    found = query(
        story,
        "select source, bucket_at, cvd_delta_base, cvd_session_base from marts.positioning_by_venue_current"
        " where symbol = 'BTC-USDT' and cvd_delta_base is not null order by 1, 2",
    )
    expected: list[tuple[Any, ...]] = []
    for source in PERPETUALS:
        hours = bars_of(story.perpetuals[source], HOUR)
        session: Decimal | None = Decimal(0)
        for n in range(HOURS):
            at = DAY + n * HOUR
            one = delta(hours[at]) if at in hours else None
            session = None if one is None or session is None else session + one
            if one is not None:
                expected.append((source, at, one, session))
    assert found == expected
    # Over the venues: every hour has a delta of somebody, and the session is the sum of those.
    totals = query(
        story,
        "select bucket_at, cvd_coverage, cvd_delta_base, cvd_session_base from marts.planner_positioning_current"
        " where symbol = 'BTC-USDT' and cvd_delta_base is not null order by 1",
    )
    running = Decimal(0)
    for n, (at, coverage, one, session) in enumerate(totals):
        venues = [row for row in expected if row[1] == at]
        running += sum(row[2] for row in venues)
        assert (at, one, session) == (DAY + n * HOUR, sum(row[2] for row in venues), running)
        assert coverage == round(Decimal(len(venues)) / 3, 6)


def test_heatmap_when_binned_by_hand_then_agrees(story: Story) -> None:
    # ln 100 / ln 1.001 = 4607.47, of 100.01 4607.57, of 99 4597.42.
    found = query(
        story,
        "select bucket_at, side, price_bin, notional_usd, size_base, liquidation_count, is_sampled"
        " from marts.liquidation_heatmap_current where symbol = 'BTC-USDT' order by 1, 2, 3",
    )
    assert found == [
        (DAY, "long", 4597, Decimal(396), Decimal(4), 1, True),
        (DAY, "long", 4607, Decimal("350.015"), Decimal("3.5"), 2, True),
        (DAY, "short", 4607, Decimal(300), Decimal(3), 1, True),
        (DAY + HOUR, "long", 4607, Decimal(700), Decimal(7), 1, True),
        (DAY + HOURS * HOUR, "short", 4607, Decimal(100), Decimal(1), 1, True),
    ]
    edges = query(story, "select price_low, price_high from marts.liquidation_heatmap where price_bin = 4607 limit 1")
    low, high = edges[0]
    assert low <= 100 < Decimal("100.01") < high
    assert abs(high / low - Decimal("1.001")) < Decimal("0.0000000001")


def test_liquidations_when_summed_then_are_told_per_venue_and_in_all(story: Story) -> None:
    found = query(
        story,
        "select bucket_at, liquidated_long_usd, liquidated_short_usd, liquidations_sampled"
        " from marts.planner_positioning_current"
        " where symbol = 'BTC-USDT' and liquidated_long_usd is not null order by 1",
    )
    running = DAY + HOURS * HOUR
    assert found == [
        (DAY, Decimal("746.015"), Decimal(300), True),
        (DAY + HOUR, Decimal(700), Decimal(0), True),
        (running, Decimal(0), Decimal(100), True),
    ]
    # While the hour was running the heatmap had it, and the hours did not.
    newest = "select max(bucket_at) from marts.{}_asof(%s)"
    assert query(story, newest.format("liquidation_heatmap"), story.first.as_of) == [(running,)]
    assert query(story, newest.format("planner_positioning"), story.first.as_of) == [(running - HOUR,)]


def test_features_when_asked_for_flow_then_have_it_with_its_verified_fraction(story: Story) -> None:
    found = query(
        story,
        "select symbol, feature, value is not null, verified_fraction from marts.planner_features_current"
        " where granularity = '1h' and bucket_at = %s and symbol in ('BTC-USD', 'BTC-USDT')"
        " and feature in ('volume_concentration_top1pct', 'cvd_session_base', 'cvd_delta_base_okx') order by 1, 2",
        DAY + 3 * HOUR,
    )
    # One minute of okx was proved: of its hour a 60th, of the session of four hours over five or three venues less.
    assert found == [
        ("BTC-USD", "cvd_delta_base_okx", True, Decimal("0.016667")),
        ("BTC-USD", "cvd_session_base", True, Decimal("0.000833")),
        ("BTC-USD", "volume_concentration_top1pct", True, Decimal(1)),
        ("BTC-USDT", "cvd_delta_base_okx", True, Decimal("0.016667")),
        ("BTC-USDT", "cvd_session_base", True, Decimal("0.001389")),
    ]


def test_rebuild_when_compared_then_equals_the_versions_of_each_run(story: Story) -> None:
    assert [result.mart for result in story.rebuilt] == list(TICK_MARTS) * 3
    assert [(r.mart, r.missing, r.unexpected, r.examples) for r in story.rebuilt if not r.agrees] == []
    assert all(result.rows for result in story.rebuilt)
    assert set(TICK_MARTS) <= set(MARTS)
