"""What has to be asked: a feed's instruments and the batch of one window."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from coinswarm.batches import Batch
from coinswarm.errors import UserError
from coinswarm.registry import INSTRUMENTS, Instrument
from coinswarm.sources.spec import Feed, Request, SourceSpec
from coinswarm.timeframes import Window


def feed_named(spec: SourceSpec, name: str) -> Feed:
    """The feed of a source by its name.

    Raises:
        UserError: there is none; the message lists the source's feeds.
    """
    for feed in spec.feeds:
        if feed.name == name:
            return feed
    raise UserError(f"{spec.slug} has no feed {name[:40]!r}; it has {', '.join(feed.name for feed in spec.feeds)}")


def instruments_of(spec: SourceSpec, feed: Feed, symbols: Iterable[str] = ()) -> tuple[Instrument, ...]:
    """Instruments that the feed asks for: all that it covers, or those named.

    Raises:
        UserError: a named instrument is unknown to the source, or not covered by the feed.
    """
    covered = tuple(
        instrument
        for instrument in INSTRUMENTS.of(spec.slug, kinds=feed.kinds)
        if not feed.markets or instrument.market in feed.markets
    )
    wanted = tuple(symbols)
    if not wanted:
        return covered
    chosen = tuple(INSTRUMENTS.get(spec.slug, symbol) for symbol in wanted)
    outside = [instrument.symbol for instrument in chosen if instrument not in covered]
    if outside:
        known = ", ".join(instrument.symbol for instrument in covered) or "no instruments"
        raise UserError(f"{spec.slug} {feed.name} does not cover {', '.join(outside)}; it covers {known}")
    return chosen


def batch_of(
    spec: SourceSpec, feed: Feed, window: Window, *, dag_id: str, run_id: str, symbols: Iterable[str] = ()
) -> Batch:
    """The batch of a feed over a window. The same arguments give the same batch id."""
    return Batch(
        source=spec.slug,
        feed=feed.name,
        dataset=feed.dataset,
        timeframe=feed.timeframe,
        window=window,
        dag_id=dag_id,
        run_id=run_id,
        symbols=tuple(symbols),
    )


def requests_of(spec: SourceSpec, feed: Feed, window: Window, symbols: Iterable[str] = ()) -> Iterator[Request]:
    """Every request of a window, instrument by instrument, oldest first."""
    if not feed.kinds:
        yield from feed.requests(None, window)
        return
    for instrument in instruments_of(spec, feed, symbols):
        listed = _listed_part(instrument, window)
        if listed is not None:
            yield from feed.requests(instrument, listed)


def expected_symbols(spec: SourceSpec, feed: Feed, window: Window, symbols: Iterable[str] = ()) -> tuple[str, ...]:
    """Symbols that a complete batch has rows of; empty where the feed is market-wide."""
    return tuple(
        instrument.symbol
        for instrument in (instruments_of(spec, feed, symbols) if feed.kinds else ())
        if _listed_part(instrument, window) is not None
    )


def _listed_part(instrument: Instrument, window: Window) -> Window | None:
    # Before its listing and after its delisting a venue has nothing to say about an instrument.
    zone = window.start.tzinfo
    start = max(window.start, datetime.combine(instrument.valid_from, datetime.min.time(), zone))
    end = window.end
    if instrument.valid_to is not None:
        end = min(end, datetime.combine(instrument.valid_to, datetime.min.time(), zone))
    return Window(start, end) if start < end else None
