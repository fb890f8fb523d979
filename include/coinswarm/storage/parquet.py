"""The Parquet file of a batch: its staged rows, with a schema that follows from the dataset's declaration."""

from __future__ import annotations

import io
import tempfile
from decimal import Decimal
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from coinswarm.batches import Batch
from coinswarm.datasets import AFTER, BEFORE, Column, Dataset, Kind
from coinswarm.storage.database import Session

_BLOCK_BYTES = 16 * 1024 * 1024


def schema(dataset: Dataset) -> pa.Schema:
    """Arrow schema of a dataset's files: the columns of its raw table but `known_at`, which publishing assigns.

    Numbers are text. Values have up to 60 digits and 30 decimal places on either side, more than any decimal type that
    Parquet readers share (38 digits), and one schema must fit every file; a reader casts to the precision it needs.
    Field metadata `coinswarm.type` holds the PostgreSQL type, `coinswarm.description` the meaning.
    """
    return pa.schema([_field(column) for column in _columns(dataset)], {"coinswarm.dataset": dataset.name})


def write(conn: Session, dataset: Dataset, batch: Batch, score: Decimal | None) -> tuple[bytes, int]:
    """The staged rows of a batch as a Parquet file (zstd) in order of `row_no`, and their number.

    `score` is the batch's quality score. The same staged rows and score give the same bytes.
    """
    target = schema(dataset)
    with tempfile.TemporaryFile() as spool:
        _copy_csv(conn, dataset, batch, score, spool)
        spool.seek(0)
        sink = io.BytesIO()
        rows = 0
        with pq.ParquetWriter(sink, target, compression="zstd") as writer:
            for chunk in _read_csv(spool, dataset):
                table = _cast(chunk, target)
                writer.write_table(table)
                rows += table.num_rows
    return sink.getvalue(), rows


def _columns(dataset: Dataset) -> tuple[Column, ...]:
    return (*BEFORE, *dataset.columns, *(column for column in AFTER if column.name != "known_at"))


def _field(column: Column) -> pa.Field:
    types = {
        Kind.TEXT: pa.string(),
        Kind.NUMERIC: pa.string(),
        Kind.JSON: pa.string(),
        Kind.INTEGER: pa.int64(),
        Kind.BOOLEAN: pa.bool_(),
        Kind.TIMESTAMP: pa.timestamp("us", tz="UTC"),
    }
    metadata = {"coinswarm.type": column.kind.value, "coinswarm.description": column.description}
    return pa.field(column.name, types[column.kind], metadata=metadata)


def _copy_csv(conn: Session, dataset: Dataset, batch: Batch, score: Decimal | None, spool: IO[bytes]) -> None:
    expressions = []
    for column in _columns(dataset):
        if column.name == "record_hash":
            expressions.append("encode(record_hash, 'hex')")
        elif column.name == "quality_score":
            expressions.append("NULL" if score is None else str(score))
        else:
            expressions.append(column.name)
    query = (
        f"COPY (SELECT {', '.join(expressions)} FROM staging.{dataset.name} WHERE batch_id = '{batch.batch_id}'"
        " ORDER BY row_no) TO STDOUT (FORMAT csv)"
    )
    with conn.cursor() as cursor, cursor.copy(query) as copy:
        for block in copy:
            spool.write(block)


def _read_csv(spool: IO[bytes], dataset: Dataset) -> Any:
    if spool.seek(0, io.SEEK_END) == 0:
        return []
    spool.seek(0)
    columns = _columns(dataset)
    # Times come as `2026-01-01 00:00:00+00`: sessions are in UTC. Booleans come as t and f.
    wire = {column.name: pa.string() if column.kind is Kind.BOOLEAN else _field(column).type for column in columns}
    return pa_csv.open_csv(
        spool,
        read_options=pa_csv.ReadOptions(
            column_names=[column.name for column in columns], block_size=_BLOCK_BYTES, use_threads=False
        ),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(
            column_types=wire, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def _cast(chunk: Any, target: pa.Schema) -> pa.Table:
    columns = []
    for field, values in zip(target, pa.Table.from_batches([chunk]).columns, strict=True):
        if pa.types.is_boolean(field.type):
            values = pa.compute.equal(values, "t")
        columns.append(values.cast(field.type))
    return pa.Table.from_arrays(columns, schema=target)
