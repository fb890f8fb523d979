"""`ticks`: live feeds without Airflow."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from coinswarm.cli import output

commands = typer.Typer(no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(commands, name="ticks")


@commands.callback()
def ticks() -> None:
    """Live feeds: venues' WebSockets to Redis Streams."""


@commands.command()
def run(
    shard: Annotated[list[str] | None, typer.Option(help="Shard to run, again for more; default all.")] = None,
    seconds: Annotated[float | None, typer.Option(help="End after so long; default on SIGINT or SIGTERM.")] = None,
    ledger: Annotated[bool, typer.Option(help="Record sessions, gaps and verdicts in PostgreSQL.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per change of state.")] = False,
) -> None:
    """Pump venues into Redis in this process, as the tick trigger does; a running pump of the same shard hands over."""
    import asyncio

    from coinswarm.connections import resolve
    from coinswarm.ticks.pump import PumpChange
    from coinswarm.ticks.running import run_shards
    from coinswarm.ticks.settings import TickSettings
    from coinswarm.ticks.shards import shard_names

    def tell(name: str, change: PumpChange) -> None:
        if as_json:
            line = {"shard": name, "state": change.state.value, "reason": change.reason, "counters": change.counters}
            output.json_line(line)
        else:
            entries = change.counters.get("entries", 0)
            typer.echo(f"{name:<16} {change.state.value:<12} {entries:>12,} {change.reason}")

    settings = TickSettings() if ledger else TickSettings(ledger_connection="")
    asyncio.run(run_shards(shard or shard_names(), settings, resolve, tell, seconds))


@commands.command()
def replay(
    venue: Annotated[str, typer.Argument(help="Whose frames they are, for instance `binance_spot`.")],
    file: Annotated[Path, typer.Argument(help="Recorded frames, one a line; .gz is unpacked.")],
    speed: Annotated[str, typer.Option(help="`full`, or `original`: as slowly as the frames came.")] = "full",
    redis: Annotated[bool, typer.Option(help="Also write the events into Redis, as a pump does.")] = False,
    database: Annotated[int, typer.Option(help="Logical database for that; never that of the live ticks.")] = 1,
) -> None:
    """Feed recorded frames through decoder, continuity and books, and print as JSON what is in them.

    Recordings of a protocol that the venue has retired are known by their frames. The exit
    code is 3 if a frame could not be read.
    """
    import asyncio

    from coinswarm.connections import resolve
    from coinswarm.ticks.captures import read_frames
    from coinswarm.ticks.replay import pace, protocol_of, venue_named
    from coinswarm.ticks.replay import replay as replay_frames
    from coinswarm.ticks.settings import TickSettings

    delay = pace(speed)
    protocol = protocol_of(venue, read_frames(file))
    found = replay_frames(venue_named(protocol), read_frames(file), None if redis else delay)
    report = {"protocol": protocol, **found.to_json()}
    if redis:
        from coinswarm.ticks.replay_redis import write

        connection = resolve(TickSettings().redis_connection)
        work = write(protocol, venue_named(protocol), found, read_frames(file), connection, database, delay)
        report["redis"] = asyncio.run(work).to_json()
    output.json_line(report)
    if found.malformed_count:
        typer.echo(f"coinswarm: {found.malformed_count} frames could not be read", err=True)
        raise typer.Exit(3)


@commands.command()
def mirror(
    kafka: Annotated[str, typer.Option(help="Broker as host:port; default connection `kafka_ticks`.")] = "",
    kind: Annotated[list[str] | None, typer.Option(help="Kind of stream, again for more; default all.")] = None,
    forget: Annotated[bool, typer.Option(help="Only remove the mirror's group, for Redis to keep nothing.")] = False,
) -> None:
    """Produce every entry of the tick streams to Kafka, until SIGINT or SIGTERM; one mirror at a time."""
    import signal
    import threading

    from coinswarm.connections import Connection, resolve
    from coinswarm.ticks.kafka import KINDS, KafkaMirror

    target = Connection("kafka_ticks", host=kafka) if kafka else resolve("kafka_ticks")
    working = KafkaMirror(resolve("redis_ticks"), target, kind or KINDS)
    if forget:
        output.fields({"groups removed": working.forget()})
        return
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    working.run(stop)
    output.fields(asdict(working.counters))
