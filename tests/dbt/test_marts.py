"""The planner marts on a real warehouse: versions, as-of, rebuilds, revisions, withdrawals, failures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest
from psycopg import sql
from tests.dbt.market_rows import DAY, END, FUNDING, HOUR, START, bars, seed
from tests.dbt.raw_rows import insert

from coinswarm.errors import UserError
from coinswarm.orchestration.dbt_sources import PROJECT
from coinswarm.orchestration.marts import (
    MARTS,
    MartRun,
    MartsFailed,
    RebuiltMart,
    build_marts,
    generate_docs,
    rebuild_marts,
    run_unit_tests,
)
from coinswarm.storage import reference

pytestmark = pytest.mark.dbt

REVISED = START + 5 * HOUR
WITHDRAWN = START + 30 * HOUR


@dataclass
class Story:
    """What was seen while the store grew: first build, idle build, then a revision, a withdrawal and a late fact."""

    warehouse: Any
    first: MartRun
    idle: MartRun
    last: MartRun
    after_first: dict[str, list[tuple[Any, ...]]]
    before_last: dict[str, list[tuple[Any, ...]]]
    catalog_sizes: set[int]
    rebuilt_first: tuple[RebuiltMart, ...] = ()
    rebuilt_last: tuple[RebuiltMart, ...] = ()
    rows: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)


def contents(connection: psycopg.Connection[Any], relation: str) -> list[tuple[Any, ...]]:
    schema, name = relation.split("(")[0].split(".")
    call = relation[len(schema) + len(name) + 1 :]
    query = sql.SQL("select (r.*)::text from {}{} as r order by 1").format(sql.Identifier(schema, name), sql.SQL(call))
    return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def story(warehouse: Any, dbt_target: Path) -> Iterator[Story]:
    def build() -> MartRun:
        return build_marts(warehouse.transform, target_dir=dbt_target)

    with (
        psycopg.connect(warehouse.owner.dsn) as owner,
        psycopg.connect(warehouse.planner.dsn, autocommit=True) as planner,
    ):
        reference.load(owner)
        owner.commit()
        seed(owner)
        first = build()
        after_first = {mart: contents(planner, f"marts.{mart}_current") for mart in MARTS}
        with reading(warehouse.planner.dsn) as catalog_sizes:
            idle = build()
        before_last = {mart: contents(planner, f"marts.{mart}") for mart in MARTS}

        revision = next(
            row for row in bars("BTC-USD", "coinbase", "1h", HOUR, "100000", 1) if row["event_at"] == REVISED
        )
        insert(owner, "ohlcv", [{**revision, "high": Decimal(123_456)}], known_at=datetime.now(UTC))
        withdrawn = {"source": "coinbase", "symbol": "ETH-BTC", "timeframe": "1h", "event_at": WITHDRAWN}
        insert(owner, "ohlcv", [{**withdrawn, "is_tombstone": True}], known_at=datetime.now(UTC))
        late = {"source": "kraken", "symbol": "BTC-USD-PERP", "kind": "settled", "event_at": START + 10 * HOUR}
        rate = {"rate": Decimal("0.00001"), "interval_hours": Decimal(1)}
        insert(owner, "funding_rates", [{**late, **rate}], known_at=datetime.now(UTC))
        last = build()

        told = Story(warehouse, first, idle, last, after_first, before_last, catalog_sizes)
        days = {"start": START - 8 * DAY, "end": END + 8 * DAY, "target_dir": dbt_target}
        told.rebuilt_first = rebuild_marts(warehouse.transform, as_of=first.as_of, **days)
        told.rebuilt_last = rebuild_marts(warehouse.transform, as_of=datetime.now(UTC), **days)
        yield told


@contextmanager
def reading(dsn: str) -> Iterator[set[int]]:
    """A planner who asks for the catalogue all the while; gives what it finds, -1 where it finds nothing."""
    sizes: set[int] = set()
    over = Event()

    def read() -> None:
        with psycopg.connect(dsn, autocommit=True) as planner:
            while not over.is_set():
                try:
                    ((size,),) = planner.execute("select count(distinct feature) from marts.feature_catalog").fetchall()
                except psycopg.errors.UndefinedTable:
                    size = -1
                sizes.add(size)

    reader = Thread(target=read)
    reader.start()
    try:
        yield sizes
    finally:
        over.set()
        reader.join()


def query(story: Story, text: str, *values: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(story.warehouse.planner.dsn) as planner:
        return planner.execute(text, values).fetchall()


def test_build_when_raw_is_new_then_every_mart_has_rows(story: Story) -> None:
    assert all(story.after_first[mart] for mart in MARTS)
    assert story.first.rows == sum(len(story.before_last[mart]) for mart in MARTS)


def test_build_when_nothing_changed_then_appends_nothing_and_moves_the_watermark(story: Story) -> None:
    assert story.idle.rows == 0
    with psycopg.connect(story.warehouse.auditor.dsn) as auditor:
        found = auditor.execute("select mart, max(as_of) from ops.mart_watermarks group by 1").fetchall()
        nodes = auditor.execute(
            "select count(*) from ops.mart_runs where run_id = %s and node = any(%s) and status = 'success'",
            (story.idle.run_id, list(MARTS)),
        ).fetchone()
    assert dict(found) == dict.fromkeys(MARTS, story.last.as_of)
    assert nodes == (len(MARTS),)


def test_asof_when_asked_later_then_tells_what_was_current_then(story: Story) -> None:
    for mart in MARTS:
        with psycopg.connect(story.warehouse.planner.dsn) as planner:
            assert contents(planner, f"marts.{mart}_asof('{story.first.as_of.isoformat()}')") == story.after_first[mart]


def test_versions_when_more_is_known_then_the_old_ones_stay(story: Story) -> None:
    for mart in MARTS:
        with psycopg.connect(story.warehouse.planner.dsn) as planner:
            assert set(story.before_last[mart]) <= set(contents(planner, f"marts.{mart}"))


def test_catalog_when_marts_are_built_then_planners_find_it_all_the_while(story: Story) -> None:
    (size,) = story.catalog_sizes
    assert size > 100


def test_rebuild_when_compared_then_equals_the_versions_of_each_run(story: Story) -> None:
    for results in (story.rebuilt_first, story.rebuilt_last):
        assert [result.mart for result in results] == list(MARTS)
        assert all(result.rows for result in results)
        assert [(r.mart, r.missing, r.unexpected, r.examples) for r in results if not r.agrees] == []
    assert {result.as_of for result in story.rebuilt_first} == {story.first.as_of}
    with psycopg.connect(story.warehouse.transform.dsn) as transform:
        left = transform.execute(
            "select count(*) from pg_class where relnamespace = 'rebuild'::regnamespace"
        ).fetchone()
    assert left == (0,)


def test_revision_when_published_then_only_its_buckets_get_a_version(story: Story) -> None:
    found = query(
        story,
        "select timeframe, bucket_at, high from marts.market_aggregates "
        "where symbol = 'BTC-USD' and known_at = %s and not is_tombstone order by bucket_at, timeframe desc",
        story.last.as_of,
    )
    # The withdrawn ETH/BTC bar also changes the context of its hour, its 4 hours and its day.
    revised = [(timeframe, at) for timeframe, at, high in found if high == 123_456]
    assert revised == [("1d", START), ("4h", START + 4 * HOUR), ("1h", REVISED)]
    assert {at for timeframe, at, high in found if high != 123_456} == {WITHDRAWN, START + 28 * HOUR, START + DAY}
    assert query(
        story,
        "select value from marts.planner_features where symbol = 'BTC-USD' and feature = 'high' and granularity = '1d' "
        "and bucket_at = %s and known_at = %s",
        START,
        story.last.as_of,
    ) == [(Decimal(123_456),)]


def test_withdrawal_when_published_then_a_tombstone_ends_the_bucket(story: Story) -> None:
    buckets = "symbol = 'ETH-BTC' and timeframe = '1h' and bucket_at = %s"
    versions = query(
        story,
        f"select is_tombstone, close is null from marts.market_aggregates where {buckets} order by known_at",
        WITHDRAWN,
    )
    assert versions == [(False, False), (True, True)]
    assert query(story, f"select 1 from marts.market_aggregates_current where {buckets}", WITHDRAWN) == []
    # An incomplete day is no day.
    assert (
        query(
            story,
            "select 1 from marts.market_aggregates_current "
            "where symbol = 'ETH-BTC' and timeframe = '1d' and bucket_at = %s",
            START + DAY,
        )
        == []
    )


def test_late_funding_when_published_then_joins_its_hour(story: Story) -> None:
    text = (
        "select funding_venues, funding_coverage from marts.planner_positioning_asof(%s) "
        "where symbol = 'BTC-USD' and bucket_at = %s"
    )
    assert query(story, text, story.first.as_of, START + 10 * HOUR) == [(3, Decimal("0.6"))]
    assert query(story, text, story.last.as_of, START + 10 * HOUR) == [(4, Decimal("0.8"))]


def test_funding_when_computed_independently_then_agrees(story: Story) -> None:
    found = query(
        story,
        "select source, bucket_at, funding_rate_settled, funding_apr, settled_flips "
        "from marts.positioning_by_venue_current "
        "where symbol = 'BTC-USDT' and funding_rate_settled is not null order by 1, 2",
    )
    expected = []
    for source in sorted(FUNDING):
        sign = 0
        for n, text in enumerate(FUNDING[source]):
            rate = Decimal(text)
            now = 0 if abs(rate) <= Decimal("0.00001") else (1 if rate > 0 else -1)
            expected.append(
                (source, START + n * 8 * HOUR, rate, rate * 8760 / 8, int(bool(now and sign and now != sign)))
            )
            sign = now or sign
    assert found == expected


def test_hours_when_not_over_then_do_not_appear(story: Story) -> None:
    newest = query(story, "select max(bucket_at) from marts.planner_positioning_current")[0][0]
    # The last settlement was at 16:00; a rate stands for less than two intervals of 8 hours.
    assert newest == START + 40 * HOUR + 15 * HOUR - HOUR
    assert query(story, "select count(*) from marts.planner_macro_current where bucket_at >= %s", END + 10 * DAY) == [
        (0,)
    ]


@pytest.mark.parametrize("role", ["owner", "transform", "planner", "auditor"])
@pytest.mark.parametrize("mart", MARTS)
def test_mart_when_changed_in_place_then_every_role_is_refused(story: Story, mart: str, role: str) -> None:
    for statement in ("update {} set symbol = symbol", "delete from {}", "truncate {}"):
        with psycopg.connect(getattr(story.warehouse, role).dsn) as connection:
            with pytest.raises((psycopg.errors.RestrictViolation, psycopg.errors.InsufficientPrivilege)):
                connection.execute(sql.SQL(statement).format(sql.Identifier("marts", mart)))
            connection.rollback()


def test_planner_when_reading_then_sees_marts_and_nothing_behind_them(story: Story) -> None:
    for relation in ("raw.ohlcv", "transform.stg_exchanges__ohlcv", "transform.int_market__price_buckets"):
        with (
            psycopg.connect(story.warehouse.planner.dsn) as planner,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            planner.execute(f"select 1 from {relation}")


def test_readme_examples_when_run_by_a_planner_then_answer(story: Story) -> None:
    blocks = re.findall(r"```sql\n(.*?)```", (PROJECT / "README.md").read_text("utf-8"), re.DOTALL)
    examples = [example for block in blocks for example in block.split(";") if example.strip()]
    assert len(examples) == 3
    with psycopg.connect(story.warehouse.planner.dsn) as planner:
        for example in examples:
            planner.execute(example)


def test_unit_tests_when_run_then_golden_numbers_hold(story: Story, dbt_target: Path) -> None:
    results = run_unit_tests(story.warehouse.transform, target_dir=dbt_target)
    assert len(results) >= 28
    assert {result.status for result in results} == {"pass"}


def test_build_when_a_node_fails_then_the_message_names_it_and_the_next_run_catches_up(
    story: Story, dbt_target: Path
) -> None:
    warehouse = story.warehouse
    with psycopg.connect(warehouse.owner.dsn, autocommit=True) as owner:
        day = {"source": "defillama", "scope": "all", "tvl_usd": Decimal(1)}
        insert(owner, "tvl", [{**day, "event_at": END + DAY}], known_at=datetime.now(UTC))
        owner.execute("revoke select on raw.tvl from transform")
        with pytest.raises(MartsFailed, match=r"model int_context__touched_ranges: .*permission denied for table tvl"):
            build_marts(warehouse.transform, select="tag:context", target_dir=dbt_target)
        owner.execute("grant select on raw.tvl to transform")
    run = build_marts(warehouse.transform, select="tag:context", target_dir=dbt_target)
    assert {node.name: node.rows for node in run.nodes if node.name == "planner_onchain"} == {"planner_onchain": 1}


def test_build_when_work_tables_are_of_another_run_then_refuses(story: Story, dbt_target: Path) -> None:
    with pytest.raises(MartsFailed, match="is of another run"):
        build_marts(story.warehouse.transform, select="planner_macro", target_dir=dbt_target)


def test_build_when_a_later_run_was_there_then_refuses_to_change_what_was_known(story: Story, dbt_target: Path) -> None:
    with pytest.raises(MartsFailed, match="a later run has built planner_onchain already"):
        build_marts(story.warehouse.transform, select="tag:context", as_of=story.idle.as_of, target_dir=dbt_target)


def test_build_when_asked_wrongly_then_says_so(story: Story, dbt_target: Path) -> None:
    with pytest.raises(UserError, match="no dbt node"):
        build_marts(story.warehouse.transform, select="tag:nothing", target_dir=dbt_target)
    with pytest.raises(UserError, match="future"):
        build_marts(story.warehouse.transform, as_of=datetime.now(UTC) + timedelta(hours=1), target_dir=dbt_target)
    with pytest.raises(UserError, match="unknown mart 'x'"):
        rebuild_marts(story.warehouse.transform, as_of=END, start=START, end=END, marts=["x"])


def test_docs_when_generated_then_are_one_page(story: Story, tmp_path: Path) -> None:
    page = generate_docs(story.warehouse.transform, tmp_path).read_text("utf-8")
    assert "planner_features" in page
    assert story.warehouse.transform.password not in page
