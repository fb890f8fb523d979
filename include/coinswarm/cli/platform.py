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


def up(
    demo: Demo = False,
    show: Annotated[
        bool, typer.Option(help="With --demo: wait for green runs, bring in history, print a table.")
    ] = True,
) -> None:
    """Start the platform in the background; what runs already keeps running."""
    from coinswarm.local import platform

    access = platform.up(_profile(demo))
    if demo and show:
        from coinswarm.local.demo import show as show_demo

        show_demo(access)
    print(access.text())


def down(demo: Demo = False) -> None:
    """Stop everything that `up` started, and nothing else."""
    from coinswarm.local import platform

    stopped = platform.down(_profile(demo))
    print(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def status(
    demo: Demo = False, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False
) -> None:
    """Show what runs; exit code 1 unless everything does."""
    from coinswarm.local import platform

    found = platform.status(_profile(demo))
    if as_json:
        output.json_line(
            {
                "running": found.running,
                "url": found.url,
                "programs": {program.name: program.state for program in found.programs},
                "health": dict(found.health),
            }
        )
    else:
        rows = [(program.name, program.state, program.detail) for program in found.programs]
        output.table(f"{found.profile}: {found.url or 'not running'}", ("program", "state", "detail"), rows)
        output.fields(found.health)
    if not found.running:
        raise typer.Exit(1)


def logs(
    program: Annotated[str, typer.Argument(help="Only this program; default all.")] = "",
    demo: Demo = False,
    lines: Annotated[int, typer.Option(help="Lines per program.")] = 40,
) -> None:
    """Print the end of the programs' logs."""
    from coinswarm.local import platform

    for line in platform.logs(_profile(demo), program=program, lines=lines):
        print(line)


def clean(
    demo: Demo = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop the platform and delete its data folder: every row, object and password in it."""
    from coinswarm.local import platform, settings

    home = settings.default_home(_profile(demo))
    if not yes and home.exists():
        typer.confirm(f"Delete {home} with everything in it?", abort=True)
    removed = platform.clean(_profile(demo))
    print(f"deleted {removed}" if removed else "there was nothing to delete")


def _profile(demo: bool) -> str:
    return "demo" if demo else "live"
