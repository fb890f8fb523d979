"""Cross-venue check: is a venue's price far from what the same instrument costs elsewhere at the same time?

Only venues with the same canonical symbol are compared, so USD, USDT and USDC never stand in for one another.
"""

from __future__ import annotations

from coinswarm.batches import Batch
from coinswarm.datasets import Dataset, Severity
from coinswarm.quality.checks import Check, Scope, literal
from coinswarm.registry import INSTRUMENTS

LEAST_VENUES = 3
LEAST_BPS = 10
MAD_FACTOR = 3


def cross_venue_checks(dataset: Dataset, batch: Batch) -> list[Check]:
    """The check of datasets that declare a `cross_venue_column`; none for a source whose instruments nobody shares."""
    peers = _peers(batch.source)
    if not dataset.cross_venue_column or not peers:
        return []
    return [
        Check(
            f"{dataset.cross_venue_column}.cross_venue",
            dataset.cross_venue_column,
            Scope.RECORD,
            Severity.WARN,
            f"{dataset.cross_venue_column} is within max({LEAST_BPS}, {MAD_FACTOR} MAD) bps of the median of at least"
            f" {LEAST_VENUES} venues.",
            _query(dataset, batch, peers),
        )
    ]


def _peers(source: str) -> list[tuple[str, str]]:
    own = {instrument.symbol for instrument in INSTRUMENTS.of(source)}
    return sorted(
        (instrument.source, instrument.symbol)
        for instrument in INSTRUMENTS
        if instrument.source != source and instrument.symbol in own
    )


def _query(dataset: Dataset, batch: Batch, peers: list[tuple[str, str]]) -> str:
    value = dataset.cross_venue_column
    values = ", ".join(f"({literal(source)}, {literal(symbol)})" for source, symbol in peers)
    same = f" and known.timeframe = {literal(batch.timeframe)}" if "timeframe" in dataset.key else ""
    # A price that far from the median is at least as far from some venue: only such bars need a median.
    return f"""with staged as (
    select row_no, symbol, event_at, {value}::double precision as value from {{batch}} where {value} > 0
),
elsewhere as (
    select peer.symbol, known.event_at, known.value
    from (values {values}) as peer (source, symbol),
    lateral (
        select distinct on (known.event_at) known.event_at, known.{value}::double precision as value
        from raw.{dataset.name} as known
        where known.source = peer.source and known.symbol = peer.symbol{same}
          and known.event_at >= {literal(batch.window.start)} and known.event_at < {literal(batch.window.end)}
        order by known.event_at desc, known.known_at desc
    ) as known
    where known.value > 0 and peer.symbol in (select symbol from staged)
),
spans as (
    select symbol || ' ' || event_at as bar, min(value) as lowest, max(value) as highest
    from elsewhere group by symbol, event_at having count(*) >= {LEAST_VENUES - 1}
),
candidates as (
    select row_no, bar, value from staged join spans on spans.bar = symbol || ' ' || event_at
    where greatest(value - lowest, highest - value) > {LEAST_BPS} / 1e4 * least(value, lowest)
),
quotes as (
    select row_no, value as own, value from candidates
    union all
    select candidates.row_no, candidates.value, elsewhere.value
    from candidates join elsewhere on candidates.bar = elsewhere.symbol || ' ' || elsewhere.event_at
),
middles as (
    select row_no, own, percentile_cont(0.5) within group (order by value) as median
    from quotes group by row_no, own having count(*) >= {LEAST_VENUES}
),
spreads as (
    select middles.row_no, middles.own, median,
        percentile_cont(0.5) within group (order by abs(quotes.value - median)) as mad
    from middles join quotes using (row_no) group by middles.row_no, middles.own, median
)
select row_no from spreads
where abs(own - median) / median * 1e4 > greatest({LEAST_BPS}, {MAD_FACTOR} * mad / median * 1e4)"""
