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
    from coinswarm.orchestration.verification import verify_chain, verify_marts

    reports = list(verify_chain(resolve, dataset=dataset or None, with_lake=lake))
    if not dataset:
        reports += verify_marts(resolve)
    if as_json:
        for report in reports:
            output.json_line(report)
        return
    chains = [report for report in reports if "dataset" in report]
    output.table("The ledger agrees with raw", list(chains[0]), [list(report.values()) for report in chains])
    marts = [report for report in reports if "mart" in report]
    if marts:
        output.table("Rebuilt from raw, as planners saw them", list(marts[0]), [list(r.values()) for r in marts])
