"""`verify`: does the store still hold what its ledger says."""

from __future__ import annotations

from typing import Annotated

import typer

from coinswarm.cli import output


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    dataset: Annotated[str, typer.Argument(help="Only this dataset; default all.")] = "",
    lake: Annotated[bool, typer.Option("--lake", help="Read every lake object, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per dataset.")] = False,
) -> None:
    """Recompute every batch's hash and the chain, and rebuild marts as of earlier runs; fails naming the batch."""
    from coinswarm.connections import resolve
    from coinswarm.ingest.verification import verify_store

    for report in verify_store(resolve, dataset=dataset or None, with_lake=lake):
        if as_json:
            output.json_line(report)
        else:
            output.fields(report)
