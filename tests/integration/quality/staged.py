"""Batches staged by hand: good rows of every dataset, to be spoilt one field at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from psycopg.types.json import Jsonb

from coinswarm.batches import Batch
from coinswarm.connections import Connection
from coinswarm.datasets import dataset_named
from coinswarm.storage.database import connect
from coinswarm.timeframes import Window, duration

START = datetime(2026, 10, 1, 12, tzinfo=UTC)
_RUNS = count()

# One good row of each dataset besides the clocks; `event_at` defaults to the window's start.
GOOD: dict[str, dict[str, Any]] = {
    "ohlcv": {
        "timeframe": "15m",
        "open": Decimal("100"),
        "high": Decimal("101.5"),
        "low": Decimal("99.5"),
        "close": Decimal("101"),
        "volume_base": Decimal("12.5"),
        "taker_buy_base": Decimal("6"),
    },
    "funding_rates": {"kind": "settled", "rate": Decimal("0.0001"), "interval_hours": Decimal(8)},
    "open_interest": {"open_interest_base": Decimal("1000")},
    "long_short_ratios": {"ratio_kind": "global_accounts", "period": "15m", "ratio": Decimal("1.2")},
    "option_quotes": {
        "underlying": "BTC",
        "expires_at": START + timedelta(days=30),
        "strike": Decimal(100000),
        "option_type": "call",
        "delta": Decimal("0.5"),
    },
    "volatility_indices": {
        "open_pct": Decimal(50),
        "high_pct": Decimal(52),
        "low_pct": Decimal(49),
        "close_pct": Decimal(51),
    },
    "articles": {"article_id": "a", "url": "https://example.org/a", "assets": Jsonb(["BTC"]), "tone": Decimal("-1.5")},
    "tvl": {"scope": "all", "tvl_usd": Decimal("1e11")},
    "stablecoin_supply": {"circulating": Decimal("1e11")},
    "series_observations": {"series_id": "DGS10", "value": Decimal("4.1")},
    "market_caps": {"market_cap_usd": Decimal("2e12"), "dominance_pct": Decimal("55.5")},
    "trades": {
        "trade_id": "7",
        "trade_kind": "trade",
        "price": Decimal("100.5"),
        "size_base": Decimal("0.25"),
        "side": "buy",
    },
    "liquidations": {
        "side": "long",
        "price": Decimal("99.5"),
        "size_base": Decimal(2),
        "price_kind": "average",
        "is_sampled": True,
    },
    "order_books": {
        "bids": Jsonb([["100", "1"]]),
        "asks": Jsonb([["101", "2"]]),
        "imbalance": Decimal("-0.3333"),
    },
    "trade_bars": {
        **{name: Decimal(100) for name in ("open", "high", "low", "close", "vwap")},
        "volume_base": Decimal(3),
        "volume_quote": Decimal(300),
        "buy_base": Decimal(1),
        "sell_base": Decimal(2),
        "trade_count": 2,
        "buy_count": 1,
        "largest_quote": Jsonb(["200", "100"]),
    },
}
SYMBOL = {"ohlcv": "BTC-USDT", "volatility_indices": "BTC", "option_quotes": "BTC-31OCT26-100000-C"}


def batch_for(
    dataset: str, *, slots: int = 1, timeframe: str = "", variant: str = "", source: str = "binance", **fields: Any
) -> Batch:
    """A new batch of `slots` bars from START (or of hours, for what has no bars)."""
    timeframe = timeframe or ("15m" if dataset == "ohlcv" else "")
    feed = "_".join(part for part in (dataset, timeframe, variant) if part)
    window = Window(START, START + slots * duration(timeframe or "1h"))
    known = {"dag_id": "backfill_history", "run_id": f"run-{next(_RUNS)}", "window": window, **fields}
    return Batch(source=source, feed=feed, dataset=dataset, timeframe=timeframe, **known)


def good_rows(batch: Batch, *symbols: str) -> list[dict[str, Any]]:
    """A row per slot and symbol (one per symbol where the dataset has no grid)."""
    dataset = dataset_named(batch.dataset)
    step = duration(batch.timeframe or dataset.grid) if dataset.grid else batch.window.end - batch.window.start
    values = {**GOOD[batch.dataset], **({"timeframe": batch.timeframe} if batch.timeframe else {})}
    return [
        {"symbol": symbol, "event_at": slot, **values}
        for symbol in symbols or (SYMBOL.get(batch.dataset, "BTC-USDT-PERP"),)
        for slot in (batch.window.start + i * step for i in range((batch.window.end - batch.window.start) // step))
    ]


def stage_rows(connection: Connection, batch: Batch, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put rows into staging as they are, replacing the batch's earlier ones."""
    with connect(connection, autocommit=True) as session:
        session.execute(f"delete from staging.{batch.dataset} where batch_id = %s", [batch.batch_id])
        for number, row in enumerate(rows):
            full = {
                "source": batch.source,
                "received_at": batch.window.end + timedelta(seconds=20),
                "available_basis": "observed",
                "is_tombstone": False,
                "batch_id": batch.batch_id,
                "schema_version": 1,
                "row_no": number,
                "landing_key": "landing/x.json.zst",
                **row,
            }
            session.execute(
                f"insert into staging.{batch.dataset} ({', '.join(full)}) values ({', '.join(['%s'] * len(full))})",
                list(full.values()),
            )


def publish_bars(owner: Connection, source: str, symbol: str, closes: Mapping[datetime, Any]) -> None:
    """History in raw, put there by the owner: the gate only reads it."""
    with connect(owner, autocommit=True) as session:
        session.execute("select ops.ensure_partitions('ohlcv', %s)", [sorted(closes)])
        session.cursor().executemany(
            "insert into raw.ohlcv (source, symbol, event_at, received_at, available_basis, is_tombstone, timeframe,"
            " open, high, low, close, volume_base, known_at, batch_id, record_hash, schema_version)"
            " values (%s, %s, %s, %s, 'observed', false, '15m', %s, %s, %s, %s, 1, clock_timestamp(),"
            " gen_random_uuid(), '\\x00', 1)",
            [(source, symbol, at, at, close, close, close, close) for at, close in closes.items()],
        )
