"""Marts after one new hour: a warehouse with some history against one with twelve times as much, hour by hour in turn.

`COINSWARM_BENCH_DAYS` is the shorter history. An hour is what ingest publishes in one: bars of all feeders of planner
symbols (1 m and 1 h), funding, open interest and ratios of each perpetual, an option snapshot, articles and market
capitalisations.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import psycopg

from benchmarks._report import figure, note, seconds
from coinswarm.connections import Connection
from coinswarm.local import postgres, servers
from coinswarm.orchestration.marts import MartRun, build_marts
from coinswarm.storage import reference
from coinswarm.storage.migrate import migrate

DAYS = int(os.environ.get("COINSWARM_BENCH_DAYS", "10"))
TIMES = 12
HOURS = int(os.environ.get("COINSWARM_BENCH_REPEATS", "5"))
END = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)

# Each statement fills one dataset for [%(start)s, %(stop)s); numbers do not matter, their count does.
_COMMON = "null, {at} + interval '1 hour', null, 'observed', false"
_AFTER = "{known}, gen_random_uuid(), sha256('x'), 1, 1"
STATEMENTS = {
    "ohlcv": """
        select f.source, f.instrument, at, {common}, bar.timeframe, 100 + random(), 102, 99, 100 + random(), 5, 500,
          10, 2, 200, {after}
        from (select distinct source, instrument from ops.planner_symbols where role in ('price', 'positioning')) as f
        cross join (values ('1m', interval '1 minute'), ('1h', interval '1 hour')) as bar (timeframe, step)
        cross join lateral generate_series(%(start)s, %(stop)s - interval '1 second', bar.step) as at""",
    "funding_rates": """
        select f.source, f.instrument, at, {common}, 'settled', (random() - 0.5) / 1000, 8, at, null, {after}
        from (select distinct source, instrument from ops.planner_symbols where role = 'positioning') as f
        cross join generate_series(%(start)s, %(stop)s - interval '1 second', interval '1 hour') as at
        where extract(hour from at)::integer %% 8 = 0""",
    "open_interest": """
        select f.source, f.instrument, at, {common}, 1000 + random(), 100000, null, {after}
        from (select distinct source, instrument from ops.planner_symbols where role = 'positioning') as f
        cross join generate_series(%(start)s, %(stop)s - interval '1 second', interval '15 minutes') as at""",
    "long_short_ratios": """
        select f.source, f.instrument, at, {common}, 'global_accounts', '15m', 1 + random(), null, null, {after}
        from (select distinct source, instrument from ops.planner_symbols where role = 'positioning') as f
        cross join generate_series(%(start)s, %(stop)s - interval '1 second', interval '15 minutes') as at""",
    "option_quotes": """
        select 'deribit', a || '-' || d || '-' || k || '-' || o, at, {common}, a, at + d * interval '1 day', 100 + k, o,
          50 + random(), null, null, null, null, null, 150, null, null, null, {after}
        from generate_series(%(start)s, %(stop)s - interval '1 second', interval '1 hour') as at
        cross join unnest(array['BTC', 'ETH']) as a cross join unnest(array[3, 8, 20, 45, 100]) as d
        cross join generate_series(5, 95, 5) as k cross join unnest(array['call', 'put']) as o""",
    "articles": """
        select 'gdelt', 'global', at, {common}, at || '-' || n, 'https://x.example', 'x.example', null, null,
          '["BTC"]'::jsonb, null, random() * 10, 1, 1, 100, {after}
        from generate_series(%(start)s, %(stop)s - interval '1 second', interval '15 minutes') as at
        cross join generate_series(1, 20) as n""",
    "market_caps": """
        select 'coingecko', a, at, {common}, 1000, 10, null, case a when 'global' then null else 50 end, {after}
        from generate_series(%(start)s, %(stop)s - interval '1 second', interval '15 minutes') as at
        cross join unnest(array['global', 'BTC', 'ETH', 'USDT']) as a""",
}


@dataclass
class Side:
    """One warehouse."""

    owner: Connection
    transform: Connection
    target: Path
    now: datetime = END

    def publish(self, start: datetime, stop: datetime, known_at: datetime) -> None:
        """Put the rows of a window into raw."""
        with psycopg.connect(self.owner.dsn) as connection:
            years = [datetime(year, 6, 1, tzinfo=UTC) for year in range(start.year, stop.year + 1)]
            for dataset, text in STATEMENTS.items():
                connection.execute("select ops.ensure_partitions(%s, %s)", (dataset, years))
                query = text.format(common=_COMMON.format(at="at"), after=_AFTER.format(known="%(known)s"))
                connection.execute(
                    f"insert into raw.{dataset} {query}", {"start": start, "stop": stop, "known": known_at}
                )

    def build(self) -> MartRun:
        """Bring the marts up to now."""
        return build_marts(self.transform, target_dir=self.target)

    def hour(self) -> float:
        """Publish one more hour and time the build."""
        self.publish(self.now, self.now + HOUR, datetime.now(UTC))
        self.now += HOUR
        runs: list[MartRun] = []
        elapsed = seconds(lambda: runs.append(self.build()))
        note(f"{self.owner.schema}: {runs[0].rows} versions in {elapsed:.2f} s")
        return elapsed


def sides(owner: Connection, folder: Path) -> Iterator[Side]:
    """The short and the long history, built."""
    for days in (DAYS, DAYS * TIMES):
        database = f"marts_{days}d_{uuid4().hex[:6]}"
        postgres.ensure_database(owner, database)
        own = replace(owner, schema=database)
        migrate(own.dsn)
        with psycopg.connect(own.dsn) as connection:
            reference.load(connection)
        postgres.set_password(own, "transform", "bench")
        transform = replace(own, conn_id="pg_transform", login="transform", password="bench")
        side = Side(own, transform, folder / f"dbt_{days}")
        side.publish(END - timedelta(days=days), END, datetime.now(UTC))
        vacuum(own)
        note(f"{database}: first build of {days} days takes {seconds(side.build):.1f} s")
        vacuum(own)
        yield side


def vacuum(owner: Connection) -> None:
    """What autovacuum would have done by the next run."""
    with psycopg.connect(owner.dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze")


def main() -> None:
    """Print the figure."""
    random.seed(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        with servers.postgres_server(folder) as owner:
            short, long = sides(owner, folder)
            times: tuple[list[float], list[float]] = ([], [])
            for n in range(HOURS + 1):
                pair = (short.hour(), long.hour())
                if n:  # the first round fills caches
                    times[0].append(pair[0])
                    times[1].append(pair[1])
            figure(
                "marts_after_one_new_hour_12x_history",
                statistics.median(times[1]),
                "s",
                against=f"the same on {DAYS} days of history",
                against_value=statistics.median(times[0]),
                bar="<= 1.3",
            )


if __name__ == "__main__":
    main()
