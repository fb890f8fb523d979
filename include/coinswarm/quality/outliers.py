"""Causal outliers: is a bar's return unusual, seen only from bars that came before it?"""

from __future__ import annotations

from coinswarm.batches import Batch
from coinswarm.datasets import Dataset, Severity
from coinswarm.quality.checks import Check, Scope, literal
from coinswarm.timeframes import duration

# Robust z of Iglewicz and Hoaglin: 0.6745 * (x - median) / MAD, unusual above 3.5.
THRESHOLD = 3.5
# A market at rest has a MAD of zero. With this floor a return below about 10 bps is never an outlier.
LEAST_MAD = 0.0002
# The baseline of a bar are the two full blocks before its own, so 64 to 127 returns, all of them earlier than the bar.
# Blocks instead of a sliding window keep the cost linear: PostgreSQL has no moving median.
BLOCK = 64
LEAST_RETURNS = 48
HISTORY = 3 * BLOCK


def outlier_checks(dataset: Dataset, batch: Batch) -> list[Check]:
    """The outlier check of datasets that declare an `outlier_column`, else none."""
    if not dataset.outlier_column:
        return []
    return [
        Check(
            f"{dataset.outlier_column}.outlier",
            dataset.outlier_column,
            Scope.RECORD,
            Severity.WARN,
            f"The log return of {dataset.outlier_column} has a robust z of at most {THRESHOLD} against earlier bars.",
            _query(dataset, batch),
        )
    ]


def _query(dataset: Dataset, batch: Batch) -> str:
    value = dataset.outlier_column
    step = duration(batch.timeframe or dataset.grid)
    same = f" and known.timeframe = {literal(batch.timeframe)}" if "timeframe" in dataset.key else ""
    # A return over a hole spans more time than its neighbours: it is neither judged nor part of a baseline. Analysis
    # is in double precision: ln() of numeric is a hundred times slower, and nothing of it is stored as a price.
    return f"""with staged as (
    select row_no, symbol, event_at, {value}::double precision as value from {{batch}} where {value} > 0
),
past as (
    select series.symbol, known.event_at, known.value
    from (select symbol, min(event_at) as first from staged group by symbol) as series,
    lateral (
        select distinct on (known.event_at) known.event_at, known.{value}::double precision as value
        from raw.{dataset.name} as known
        where known.source = {literal(batch.source)} and known.symbol = series.symbol{same}
          and known.event_at < series.first and known.event_at >= {literal(batch.window.start - HISTORY * step)}
        order by known.event_at desc, known.known_at desc
        limit {HISTORY}
    ) as known
    where known.value > 0
),
points as (
    select null::bigint as row_no, symbol, event_at, value from past
    union all select row_no, symbol, event_at, value from staged
),
returns as (
    select row_no, symbol || ' ' || (row_number() over series - 1) / {BLOCK} as bucket,
        symbol, (row_number() over series - 1) / {BLOCK} as block,
        case when event_at - lag(event_at) over series = {literal(step)}
            then ln(value) - ln(lag(value) over series) end as change
    from points window series as (partition by symbol order by event_at, row_no)
),
medians as (
    select symbol || ' ' || block + ahead as bucket, array_agg(change) as changes,
        percentile_cont(0.5) within group (order by change) as median
    from returns, (values (1), (2)) as two (ahead) where change is not null
    group by symbol, block + ahead having count(*) >= {LEAST_RETURNS}
),
baselines as materialized (
    select bucket, median,
        (select percentile_cont(0.5) within group (order by abs(one - median)) from unnest(changes) as one) as mad
    from medians
)
select returns.row_no from returns join baselines using (bucket)
where returns.row_no is not null
  and 0.6745 * abs(returns.change - baselines.median) > {THRESHOLD} * greatest(baselines.mad, {LEAST_MAD})"""
