"""Names of assets: stable and our own, never a host's address. DAGs meet at these."""

from __future__ import annotations

from airflow.sdk import Asset

from coinswarm.registry import INSTRUMENTS
from coinswarm.sources import SOURCES
from coinswarm.sources.spec import SourceSpec


def raw(dataset: str, source: str) -> Asset:
    """New rows of one dataset from one source are visible in `raw`."""
    return Asset(name=f"raw.{dataset}.{source}", group="raw")


def mart(name: str) -> Asset:
    """New versions of a mart are visible."""
    return Asset(name=f"marts.{name}", group="marts")


def raw_of(spec: SourceSpec) -> tuple[Asset, ...]:
    """Every raw asset of a source."""
    return tuple(raw(dataset, spec.slug) for dataset in dict.fromkeys(feed.dataset for feed in spec.feeds))


def all_raw() -> tuple[Asset, ...]:
    """Every raw asset that ingest DAGs announce."""
    return tuple(asset for spec in SOURCES.values() for asset in raw_of(spec))


def of_ticks() -> tuple[Asset, ...]:
    """What the archive of live ticks announces and marts are built from; trades reach them as bars."""
    sources = sorted({one.source for one in INSTRUMENTS})
    return tuple(
        raw(dataset, source) for dataset in ("trade_bars", "liquidations", "order_books") for source in sources
    )
