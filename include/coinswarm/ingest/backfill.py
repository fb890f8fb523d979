"""Backfills: months of history in chunks that can be resumed, oldest first, within the source's rate budget."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from coinswarm.batches import Batch
from coinswarm.connections import Resolver
from coinswarm.errors import ContractViolation, GateFailed, UserError
from coinswarm.ingest.pipeline import NothingToAsk, resumed, run
from coinswarm.ingest.plan import batch_of, instruments_of
from coinswarm.sources import source_named
from coinswarm.sources.spec import Feed, SourceSpec
from coinswarm.storage import database
from coinswarm.timeframes import Window, duration

log = logging.getLogger(__name__)

# Large enough that COPY and the gate's fixed cost pay, small enough that a lost chunk costs seconds.
SLOTS_PER_CHUNK = 5_000
LONGEST_CHUNK = timedelta(days=366)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One batch of a backfill, and whether an earlier attempt has published it."""

    batch: Batch
    done: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """State after a chunk: how many of all chunks are done, and what the chunk published (None: nothing to ask)."""

    number: int
    total: int
    batch: Batch
    published: dict[str, Any] | None


def feeds_of(spec: SourceSpec, dataset: str, timeframe: str = "") -> tuple[Feed, ...]:
    """Feeds of a source that hold a dataset: those of a timeframe, or every scheduled one.

    Raises:
        UserError: none does; the message lists what the source has.
    """
    found = tuple(
        feed
        for feed in spec.feeds
        if feed.dataset == dataset and (feed.timeframe == timeframe if timeframe else feed.scheduled)
    )
    if not found:
        known = ", ".join(sorted({f"{f.dataset} {f.timeframe}".strip() for f in spec.feeds}))
        raise UserError(f"{spec.slug} has no {dataset[:40]} {timeframe[:10]}".rstrip() + f"; it has {known}")
    return found


def plan(
    source: str,
    dataset: str,
    window: Window,
    *,
    run_id: str,
    resolve: Resolver,
    symbols: Iterable[str] = (),
    timeframe: str = "",
    dag_id: str = "backfill_history",
) -> list[Chunk]:
    """Chunks of a backfill, oldest first per feed; the same arguments plan the same chunks.

    Raises:
        UserError: unknown source, dataset, timeframe or instrument.
    """
    spec = source_named(source)
    chosen = tuple(symbols)
    batches = [
        batch_of(spec, feed, part, dag_id=dag_id, run_id=run_id, symbols=chosen)
        for feed in feeds_of(spec, dataset, timeframe)
        for part in _parts(spec, feed, window, chosen)
    ]
    with database.connect(resolve("pg_ingest")) as connection:
        return [Chunk(*resumed(connection, batch)) for batch in batches]


def work(
    chunks: list[Chunk], resolve: Resolver, *, step: Callable[[Batch, Resolver], dict[str, Any]] = run
) -> Iterator[Progress]:
    """Work through the chunks that are not done, yielding the state after each.

    Raises:
        GateFailed: chunks were refused, by the gate or for unusable answers; all others are published. The same run
            asks for the refused ones again.
        SourceError, StoreUnavailable: as a step demands; the same run goes on from there.
    """
    refused: list[str] = []
    for number, chunk in enumerate(chunks, start=1):
        if chunk.done:
            continue
        try:
            published: dict[str, Any] | None = step(chunk.batch, resolve)
        except NothingToAsk:
            published = None
        except (GateFailed, ContractViolation) as error:
            log.warning("chunk %s of %s is refused: %s", number, len(chunks), error)
            refused.append(f"from {chunk.batch.window.start:%F %H:%M}: {error}")
            continue
        yield Progress(number, len(chunks), chunk.batch, published)
    if refused:
        raise GateFailed(f"{len(refused)} of {len(chunks)} chunks are refused; the first {refused[0]}")


def _parts(spec: SourceSpec, feed: Feed, window: Window, symbols: tuple[str, ...]) -> Iterator[Window]:
    if feed.kinds:
        instruments_of(spec, feed, symbols)
    slot = duration(feed.timeframe) if feed.timeframe else feed.cadence.period
    return window.slices(min(LONGEST_CHUNK, slot * SLOTS_PER_CHUNK))
