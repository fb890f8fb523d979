"""`up`, `down`, `status`, `logs`, `clean`: the platform on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from coinswarm.cli import output

Demo = Annotated[bool, typer.Option("--demo", help="The demo platform: sandbox providers, own data folder.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(logs)
    app.command()(clean)
