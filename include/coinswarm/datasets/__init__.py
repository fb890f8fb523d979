"""What is stored: one declaration per dataset, from which table, Parquet schema, suite and dbt source follow."""

from __future__ import annotations

from coinswarm.datasets._common import AFTER, BEFORE
from coinswarm.datasets._model import Column, Dataset, Domain, Kind, RowRule, Severity
from coinswarm.datasets.derivatives import FUNDING_RATES, LONG_SHORT_RATIOS, OPEN_INTEREST
from coinswarm.datasets.macro import MARKET_CAPS, SERIES_OBSERVATIONS
from coinswarm.datasets.news import ARTICLES, NEWS_EVENTS, NEWS_MENTIONS
from coinswarm.datasets.ohlcv import OHLCV
from coinswarm.datasets.onchain import STABLECOIN_SUPPLY, TVL
from coinswarm.datasets.options import OPTION_QUOTES, VOLATILITY_INDICES
from coinswarm.datasets.ticks import INSTRUMENTS, LIQUIDATIONS, ORDER_BOOKS, TICKERS, TRADE_BARS, TRADES
from coinswarm.errors import UserError

DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        OHLCV,
        FUNDING_RATES,
        OPEN_INTEREST,
        LONG_SHORT_RATIOS,
        OPTION_QUOTES,
        VOLATILITY_INDICES,
        ARTICLES,
        TVL,
        STABLECOIN_SUPPLY,
        SERIES_OBSERVATIONS,
        MARKET_CAPS,
        TRADES,
        LIQUIDATIONS,
        ORDER_BOOKS,
        TRADE_BARS,
        TICKERS,
        INSTRUMENTS,
        NEWS_EVENTS,
        NEWS_MENTIONS,
    )
}
STORED: tuple[Dataset, ...] = tuple(dataset for dataset in DATASETS.values() if dataset.stored)


def dataset_named(name: str) -> Dataset:
    """The declaration called `name`.

    Raises:
        UserError: there is none; the message lists those that exist.
    """
    try:
        return DATASETS[name]
    except KeyError:
        raise UserError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}") from None


__all__ = [
    "AFTER",
    "BEFORE",
    "DATASETS",
    "STORED",
    "Column",
    "Dataset",
    "Domain",
    "Kind",
    "RowRule",
    "Severity",
    "dataset_named",
]
