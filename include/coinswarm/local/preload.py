"""Import the slow libraries once, in the scheduler, before it forks tasks."""

from __future__ import annotations

import importlib
import logging

_SLOW = (
    "great_expectations",
    "dbt.cli.main",
    "dbt.adapters.postgres",
    "pandas",
    "pyarrow.parquet",
    "boto3",
    "ccxt",
    "psycopg",
)


def preload() -> None:
    """Import what tasks need; a library that cannot be imported will say so in the task that wants it."""
    # Its import alone writes 200 lines at INFO.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    for name in _SLOW:
        try:
            importlib.import_module(name)
        except ImportError:
            logging.getLogger(__name__).warning("cannot preload %s", name, exc_info=True)
