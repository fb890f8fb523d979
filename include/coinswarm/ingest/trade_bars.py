"""One-minute bars made of `raw.trades`, for every minute that new trades touched: a repair revises its bars."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from coinswarm.batches import Batch
from coinswarm.connections import Resolver
from coinswarm.datasets import dataset_named
from coinswarm.errors import GateFailed
from coinswarm.storage import database
from coinswarm.storage.lake import Lake
from coinswarm.storage.publish import Published, publish, stored_result
from coinswarm.storage.staging import stage_query
from coinswarm.timeframes import Window

FEED = "trade_bars"
MINUTE = timedelta(minutes=1)
# A venue's and our clock are seconds apart, and a trade is under way for some: before that a minute is not over.
SETTLE = timedelta(seconds=10)


@database.store_errors()
def build_bars(
    source: str, resolve: Resolver, *, dag_id: str = "archive_ticks", now: datetime | None = None
) -> Published | None:
    """Publish the bars of all finished minutes of a venue that trades came into since the last time.

    The caller holds the archive's lock. A bar that says what it said before is not published again. A minute that is
    not over waits for the next time.

    Returns:
        The ledger entry; None if no finished minute was touched.

    Raises:
        GateFailed: nothing was published.
        StoreUnavailable: PostgreSQL or the lake does not answer.
    """
    from coinswarm.quality.gate import run_gate

    now = now or datetime.now(UTC)
    dataset = dataset_named("trade_bars")
    with database.connect(resolve("pg_ingest"), autocommit=True) as connection:
        known = _state(connection, source)
        touched, through = _touched(connection, source, known)
        finished = sorted((symbol, minute) for symbol, minute in touched if minute + MINUTE + SETTLE <= now)
        waiting = sorted((symbol, minute.isoformat()) for symbol, minute in touched - set(finished))
        if not finished:
            return None
        minutes = [minute for _, minute in finished]
        batch = Batch(
            source=source,
            feed=FEED,
            dataset=dataset.name,
            timeframe="1m",
            window=Window(min(minutes), max(minutes) + MINUTE),
            dag_id=dag_id,
            run_id=_name_of(through, finished),
        )
        # Whoever builds bars holds the archive's lock, so these were left by a worker that died.
        connection.execute(
            "DELETE FROM staging.trade_bars WHERE source = %s AND batch_id <> %s", [source, batch.batch_id]
        )
        if stored_result(connection, batch) is None:
            parameters = {"symbols": [symbol for symbol, _ in finished], "minutes": minutes}
            stage_query(connection, dataset, batch, _BARS, parameters)
            report = run_gate(resolve("pg_ingest"), batch, expected_symbols=())
            if not report.passed:
                raise GateFailed(report.summary())
        published = publish(connection, Lake(resolve("s3_lake")), batch)
        connection.execute(
            "INSERT INTO ops.batch_steps (batch_id, step, detail) VALUES (%s, 'bars', %s)",
            [batch.batch_id, Jsonb({"source": source, "through": through.isoformat(), "waiting": waiting})],
        )
    return published


def _state(connection: database.Session, source: str) -> dict[str, Any]:
    row = connection.execute(
        "SELECT s.detail FROM ops.batch_steps AS s JOIN ops.batches AS b USING (batch_id)"
        " WHERE s.step = 'bars' AND b.dataset = 'trade_bars' AND b.source = %s ORDER BY s.at DESC LIMIT 1",
        [source],
    ).fetchone()
    return row[0] if row else {"through": "-infinity", "waiting": []}


def _touched(
    connection: database.Session, source: str, known: dict[str, Any]
) -> tuple[set[tuple[str, datetime]], datetime]:
    batches = connection.execute(
        "SELECT known_at FROM ops.batches WHERE dataset = 'trades' AND source = %s AND known_at > %s::timestamptz"
        " AND inserted_count > 0 ORDER BY known_at",
        [source, known["through"]],
    ).fetchall()
    touched = {(symbol, datetime.fromisoformat(minute)) for symbol, minute in known["waiting"]}
    through = batches[-1][0] if batches else _moment(known["through"])
    if batches:
        # All rows of a batch have its known_at, and lie together.
        touched |= set(
            connection.execute(
                "SELECT DISTINCT symbol, date_bin('1 minute', event_at, '2000-01-01 00:00+00') FROM raw.trades"
                " WHERE source = %s AND known_at = ANY(%s) AND known_at BETWEEN %s AND %s",
                [source, [known_at for (known_at,) in batches], batches[0][0], through],
            ).fetchall()
        )
    return touched, through


def _name_of(through: datetime, finished: list[tuple[str, datetime]]) -> str:
    minutes = json.dumps([(symbol, minute.isoformat()) for symbol, minute in finished])
    return f"{through.isoformat()}-{hashlib.sha256(minutes.encode()).hexdigest()[:16]}"


def _moment(text: str) -> datetime:
    return datetime.min.replace(tzinfo=UTC) if text == "-infinity" else datetime.fromisoformat(text)


# Minute by minute, so that each is one short range of the index. A quotient has the decimal places of its dividend. Ids
# of one length in their order, shorter ones first: that is the order of numbers without making numbers of them.
_BARS = """
    SELECT row_number() OVER (ORDER BY symbol, event_at) AS row_no, symbol, event_at,
        prices[1] AS open, high, low, prices[trade_count] AS close,
        round(CASE WHEN volume_base > 0 THEN round(volume_quote, 24) / volume_base ELSE mean END, 18) AS vwap,
        volume_base, volume_quote, buy_base, volume_base - buy_base AS sell_base, trade_count, buy_count,
        ids[1] AS first_id, ids[trade_count] AS last_id,
        CASE WHEN trade_count <= 40000 THEN (
            SELECT jsonb_agg(trim_scale(quote)::text ORDER BY place)
            FROM unnest(quotes[1:greatest(60, ceil(trade_count / 10.0)::integer)]) WITH ORDINALITY AS q (quote, place)
        ) END AS largest_quote
    FROM (
        SELECT wanted.symbol, wanted.event_at,
            array_agg(t.price ORDER BY t.event_at, length(t.trade_id), t.trade_id) AS prices,
            array_agg(t.trade_id ORDER BY t.event_at, length(t.trade_id), t.trade_id) AS ids,
            array_agg(t.quote ORDER BY t.quote DESC) AS quotes,
            max(t.price) AS high, min(t.price) AS low, avg(t.price) AS mean,
            sum(t.size_base) AS volume_base, sum(t.quote) AS volume_quote,
            coalesce(sum(t.size_base) FILTER (WHERE t.side = 'buy'), 0) AS buy_base,
            count(*) AS trade_count, count(*) FILTER (WHERE t.side = 'buy') AS buy_count
        FROM unnest(%(symbols)s::text[], %(minutes)s::timestamptz[]) AS wanted (symbol, event_at),
        LATERAL (
            SELECT DISTINCT ON (trade_id) event_at, trade_id, price, size_base, side, price * size_base AS quote,
                is_tombstone
            FROM raw.trades AS r
            WHERE r.source = %(source)s AND r.symbol = wanted.symbol
                AND r.event_at >= wanted.event_at AND r.event_at < wanted.event_at + interval '1 minute'
            ORDER BY trade_id, known_at DESC
        ) AS t
        WHERE NOT t.is_tombstone
        GROUP BY wanted.symbol, wanted.event_at
    ) AS bars
"""
