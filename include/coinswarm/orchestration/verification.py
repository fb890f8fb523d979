"""Proof that the store holds what its ledger says, and that marts can be rebuilt as seen. No Airflow in here."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from coinswarm.connections import Resolver
from coinswarm.datasets import STORED, dataset_named
from coinswarm.errors import IntegrityError
from coinswarm.orchestration.marts import rebuild_marts
from coinswarm.storage import database, ledger
from coinswarm.storage.lake import Lake

# How far back a rebuild compares: enough for a day's late arrivals, short enough to take seconds.
COMPARED = timedelta(days=2)


def verify_chain(resolve: Resolver, *, dataset: str | None = None, with_lake: bool = False) -> Iterator[dict[str, Any]]:
    """Check every dataset against the ledger, one report each.

    Args:
        resolve: connections; `pg_auditor`, and `s3_lake` if the lake is read.
        dataset: only this one.
        with_lake: read every listed object, too.

    Raises:
        IntegrityError: naming dataset and batch of the first contradictions.
        UserError: unknown dataset.
    """
    lake = Lake(resolve("s3_lake")) if with_lake else None
    names = (dataset_named(dataset).name,) if dataset else tuple(stored.name for stored in STORED)
    for name in names:
        with database.connect(resolve("pg_auditor")) as connection:
            report = ledger.verify(connection, dataset=name, lake=lake)
        yield {"dataset": name, "batches": report.batches, "rows": report.rows, "objects": report.objects}


def verify_marts(resolve: Resolver) -> Iterator[dict[str, Any]]:
    """Rebuild marts from raw as of the last run that is a day old (else the last one), and compare with the versions.

    Raises:
        IntegrityError: naming the mart and rows that differ.
    """
    as_of = _earlier_run(resolve)
    if as_of is None:
        return
    midnight = as_of.replace(hour=0, minute=0, second=0, microsecond=0)
    results = rebuild_marts(
        resolve("pg_transform"), as_of=as_of, start=midnight - COMPARED, end=midnight + timedelta(days=1)
    )
    for result in results:
        if not result.agrees:
            raise IntegrityError(
                f"mart {result.mart} as of {as_of.isoformat()}: {result.missing} rebuilt rows are not among its "
                f"versions and {result.unexpected} versions cannot be rebuilt, for instance {result.examples[:2]}"
            )
        yield {"mart": result.mart, "as_of": as_of.isoformat(), "rows": result.rows}


def _earlier_run(resolve: Resolver) -> datetime | None:
    with database.connect(resolve("pg_auditor")) as connection:
        row = connection.execute(
            "select coalesce(max(as_of) filter (where as_of <= %s), max(as_of)) from ops.mart_watermarks",
            [datetime.now(UTC) - timedelta(days=1)],
        ).fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None
