"""`backfill` and `features`: bring history in, and read what planners read."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

import typer

from coinswarm.cli import output
from coinswarm.timeframes import Window, parse_moment


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backfill)
    app.command()(features)


def backfill(
    source: Annotated[str, typer.Argument(help="Slug of the provider.")],
    dataset: Annotated[str, typer.Argument(help="Dataset to bring in.")],
    start: Annotated[str, typer.Argument(help="First moment, UTC.")],
    end: Annotated[str, typer.Argument(help="End, not included, UTC.")],
    instrument: Annotated[
        list[str] | None, typer.Option(help="Canonical instrument; repeat for more, default all.")
    ] = None,
    timeframe: Annotated[str, typer.Option(help="Bar length, for ohlcv; default all.")] = "",
    run_id: Annotated[str, typer.Option(help="Name a run to resume it.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per chunk.")] = False,
) -> None:
    """Bring in history in chunks. The same --run-id resumes; a new run asks again and adds what has changed."""
    from coinswarm.connections import resolve
    from coinswarm.ingest.backfill import plan, work

    run = run_id or f"manual-{uuid4().hex[:8]}"
    window = Window(parse_moment(start), parse_moment(end))
    chunks = plan(source, dataset, window, run_id=run, resolve=resolve, symbols=instrument or (), timeframe=timeframe)
    totals = {"inserted": 0, "revised": 0, "unchanged": 0}
    with output.progress() as bar:
        task = bar.add_task(f"{source} {dataset}", total=len(chunks), completed=sum(chunk.done for chunk in chunks))
        for state in work(chunks, resolve):
            bar.update(task, completed=state.number)
            for name in totals:
                totals[name] += (state.published or {}).get(name, 0)
            if as_json:
                output.json_line(
                    {"feed": state.batch.feed, "from": state.batch.window.start, **(state.published or {})}
                )
    if not as_json:
        output.fields({"run": run, "chunks": len(chunks), **totals})


def features(
    symbols: Annotated[list[str], typer.Argument(help="Planner symbols, `BTC-USD`.")],
    source: Annotated[list[str] | None, typer.Option(help="Feature group; repeat for more.")] = None,
    days: Annotated[int, typer.Option(help="Length of the window, in days.")] = 30,
    granularity: Annotated[str, typer.Option(help="`1h` or `1d`.")] = "1h",
    end: Annotated[str, typer.Option(help="End of the window, UTC; default now.")] = "",
    as_of: Annotated[str, typer.Option(help="What was known then, UTC; default now.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per row.")] = False,
    rows: Annotated[int, typer.Option(help="Rows to print as a table.")] = 24,
) -> None:
    """Print the features that a planner sees."""
    import json

    from coinswarm.clients.planner import PlannerData
    from coinswarm.connections import resolve

    frame = PlannerData(resolve("pg_planner")).get_features(
        symbols=symbols,
        sources=source or ["price", "funding"],
        window_days=days,
        granularity=granularity,
        end=parse_moment(end) if end else None,
        as_of=parse_moment(as_of) if as_of else None,
    )
    if as_json:
        for line in json.loads(frame.reset_index().to_json(orient="records", date_format="iso", double_precision=15)):
            output.json_line(line)
        return
    shown = frame.reset_index().tail(rows)
    cells = [["" if cell != cell else cell for cell in row] for row in shown.itertuples(index=False)]
    output.table(f"{', '.join(symbols)}: last {len(shown)} of {len(frame)} rows", list(shown.columns), cells)
