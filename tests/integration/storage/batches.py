"""Small batches of bars and other records for the storage tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from coinswarm.batches import Batch
from coinswarm.datasets import dataset_named
from coinswarm.datasets.records import Record
from coinswarm.storage.database import Session
from coinswarm.storage.lake import Lake
from coinswarm.storage.publish import Published, publish
from coinswarm.storage.staging import Incoming, stage
from coinswarm.timeframes import Window

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
READ_AT = datetime(2026, 3, 1, 13, tzinfo=UTC)


def new_batch(dataset: str = "ohlcv", *, source: str = "binance", run_id: str | None = None) -> Batch:
    window = Window(NOON, NOON + timedelta(hours=1))
    return Batch(source, f"{dataset}_test", dataset, "1m", window, "dag", run_id or uuid4().hex)


def bar(close: str, *, minute: int = 0, symbol: str = "BTC-USDT", gone: bool = False, **more: Any) -> Record:
    values: Mapping[str, Any] = {
        "timeframe": "1m",
        **({} if gone else {name: Decimal(close) for name in ("open", "high", "low", "close")}),
        **({} if gone else {"volume_base": Decimal("1.50")}),
        **more,
    }
    return Record(symbol, NOON + timedelta(minutes=minute), values, is_tombstone=gone)


def staged(conn: Session, records: Sequence[Record], batch: Batch | None = None) -> Batch:
    batch = batch or new_batch()
    incoming = [Incoming(record, READ_AT, "landing/test") for record in records]
    stage(conn, dataset_named(batch.dataset), batch, incoming)
    return batch


def published(conn: Session, lake: Lake, records: Sequence[Record], batch: Batch | None = None) -> Published:
    return publish(conn, lake, staged(conn, records, batch))


def closes(conn: Session, symbol: str = "BTC-USDT", *, as_of: datetime | None = None) -> list[str]:
    """Visible closes of a symbol in order of event_at, as of a moment or now."""
    rows = conn.execute(
        "SELECT close::text FROM raw.ohlcv_asof(%s) WHERE symbol = %s ORDER BY event_at", [as_of or "infinity", symbol]
    )
    return [row[0] for row in rows.fetchall()]


def revisions(conn: Session, symbol: str) -> list[str | None]:
    """All closes of a symbol in the order in which they became known; None for a tombstone."""
    rows = conn.execute("SELECT close::text FROM raw.ohlcv WHERE symbol = %s ORDER BY event_at, known_at", [symbol])
    return [row[0] for row in rows.fetchall()]
