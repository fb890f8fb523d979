"""`sources`, `parse` and `sandbox`: what can be asked, what a payload means, and stand-ins for the providers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from coinswarm.cli import output


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(sources)
    app.command()(parse)
    # The sandbox has a command line of its own; it gets everything after the word, `--help` included.
    passed_on = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command(context_settings=passed_on, add_help_option=False)(sandbox)


def sources(as_json: Annotated[bool, typer.Option("--json", help="One JSON line per feed.")] = False) -> None:
    """List the providers and their feeds."""
    from coinswarm.sources import SOURCES

    rows = [
        (
            spec.slug,
            spec.domain.value,
            feed.name,
            feed.cadence.value,
            feed.mode.value,
            "needs a key" if spec.key_required else "keyless",
            "on" if spec.enabled else "off by default",
        )
        for spec in SOURCES.values()
        for feed in spec.feeds
    ]
    columns = ("source", "domain", "feed", "cadence", "mode", "access", "state")
    if as_json:
        for row in rows:
            output.json_line(dict(zip(columns, row, strict=True)))
    else:
        output.table("Sources", columns, rows)


def parse(
    source: Annotated[str, typer.Argument(help="Slug of the provider, see `coinswarm sources`.")],
    dataset: Annotated[str, typer.Argument(help="Dataset that the payload holds.")],
    file: Annotated[Path, typer.Argument(help="The payload; `-` reads stdin, .gz and .zst are unpacked.")],
    symbol: Annotated[str, typer.Option(help="Canonical instrument that the payload is about.")] = "",
    timeframe: Annotated[str, typer.Option(help="Bar length, for ohlcv.")] = "",
) -> None:
    """Print what a provider's payload means: one JSON line a record, exact decimals as text.

    Rows that do not fit are printed too, with `rejected` and the reason; the exit code is then 3.
    """
    from coinswarm.sources.files import parse_file

    bad = 0
    for line in parse_file(source, dataset, file, symbol=symbol, timeframe=timeframe):
        bad += "rejected" in line
        output.json_line(line)
    if bad:
        typer.echo(f"coinswarm: {bad} rows do not fit", err=True)
        raise typer.Exit(3)


def sandbox(context: typer.Context) -> None:
    """Serve stand-in providers on their own wire formats until interrupted."""
    from coinswarm.sandbox.__main__ import main

    raise typer.Exit(main(context.args))
