"""Commands, one module a topic. Heavy imports happen inside the commands, so that `--help` is quick."""

import typer

from coinswarm.cli import data, platform, providers, store, ticks

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Crypto market, news, on-chain and macro data in one append-only, point-in-time store.",
)
for module in (platform, providers, data, store, ticks):
    module.register(app)

__all__ = ["app"]
