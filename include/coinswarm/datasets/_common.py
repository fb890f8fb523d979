"""The columns that every raw table has, in table order around the dataset's own columns."""

from __future__ import annotations

from coinswarm.datasets._model import Column, Kind

BEFORE: tuple[Column, ...] = (
    Column("source", Kind.TEXT, "Slug of the provider that the row came from."),
    Column("symbol", Kind.TEXT, "Canonical instrument (`BTC-USDT-PERP`), asset (`BTC`) or `global`."),
    Column("event_at", Kind.TIMESTAMP, "When it happened, by the provider's clock; a bar carries its open time."),
    Column(
        "published_at", Kind.TIMESTAMP, "When the provider says that it became public; null if unknown.", nullable=True
    ),
    Column("received_at", Kind.TIMESTAMP, "When our process read the payload."),
    Column("available_at", Kind.TIMESTAMP, "Best estimate of when the world could know it.", nullable=True),
    Column(
        "available_basis",
        Kind.TEXT,
        "How `available_at` is known.",
        allowed=("observed", "documented", "assumed"),
    ),
    Column("is_tombstone", Kind.BOOLEAN, "True if the provider withdrew the record: the revision ends its key."),
)
AFTER: tuple[Column, ...] = (
    Column("known_at", Kind.TIMESTAMP, "When the row became visible to readers here; strictly increasing per dataset."),
    Column("batch_id", Kind.TEXT, "Batch in `ops.batches` that published the row (uuid)."),
    Column("record_hash", Kind.TEXT, "sha-256 of the provider's values (bytea); a new revision is a new hash."),
    Column("schema_version", Kind.INTEGER, "Version of the dataset's declaration that wrote the row."),
    Column("quality_score", Kind.NUMERIC, "Score in [0, 1] of the batch that the row came with.", nullable=True),
)
