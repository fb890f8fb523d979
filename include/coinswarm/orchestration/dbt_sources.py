"""Writes dbt's sources and staging models from the declarations: `python -m coinswarm.orchestration.dbt_sources`.

A test compares the files with the declarations, so that a new column cannot be forgotten. Only these staging models
call `source()`; each selects what was known at the run's watermark, one row per raw revision.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from coinswarm.datasets import AFTER, BEFORE, STORED, Dataset, Domain

PROJECT = Path(__file__).resolve().parents[3] / "dbt_project"
WIDTH = 118
# How old the newest row may be: twice and eight times the longest cadence that feeds the dataset. Unit: hours.
FRESHNESS = {
    "ohlcv": (2, 8),
    "funding_rates": (9, 24),
    "open_interest": (2, 8),
    "long_short_ratios": (2, 8),
    "option_quotes": (2, 8),
    "volatility_indices": (3, 8),
    "articles": (1, 6),
    "tvl": (50, 96),
    "stablecoin_supply": (50, 96),
    "series_observations": (120, 240),
    "market_caps": (2, 8),
    "trades": (1, 4),
    "liquidations": (24, 96),
    "order_books": (1, 4),
    "trade_bars": (1, 4),
}
SHARED = tuple(column.name for column in (*BEFORE, *AFTER))


def generated_files() -> dict[str, str]:
    """Path below the dbt project → content, of every file that follows from the declarations."""
    files = {"models/staging/_raw_columns.md": "".join(_docs_blocks())}
    for domain in Domain:
        datasets = [dataset for dataset in STORED if dataset.domain is domain]
        if not datasets:
            continue
        folder = f"models/staging/{domain}"
        files[f"{folder}/_sources.yml"] = "".join(_sources(domain, datasets))
        files[f"{folder}/_models.yml"] = "".join(_models(datasets))
        for dataset in datasets:
            files[f"{folder}/{staging_name(dataset)}.sql"] = _staging_sql(dataset)
    return files


def staging_name(dataset: Dataset) -> str:
    """Name of the dataset's staging model, `stg_exchanges__ohlcv`."""
    return f"stg_{dataset.domain}__{dataset.name}"


def _docs_blocks() -> Iterator[str]:
    yield "<!-- Written by `python -m coinswarm.orchestration.dbt_sources`. -->\n"
    for column in (*BEFORE, *AFTER):
        yield f"\n{{% docs raw_{column.name} %}}\n{column.description}\n{{% enddocs %}}\n"


def _sources(domain: Domain, datasets: list[Dataset]) -> Iterator[str]:
    yield (
        "# Written by `python -m coinswarm.orchestration.dbt_sources`.\n"
        "version: 2\n\nsources:\n"
        f"  - name: raw_{domain}\n"
        "    schema: raw\n"
        f"    description: Immutable revisions of the {domain} datasets, published after the quality gate.\n"
        "    tables:\n"
    )
    for dataset in datasets:
        warn, error = FRESHNESS[dataset.name]
        yield (
            f"      - name: {dataset.name}\n"
            f"        description: {_quoted(dataset.description)}\n"
            "        config:\n"
            "          loaded_at_field: known_at\n"
            "          freshness:\n"
            f"            warn_after: {{count: {warn}, period: hour}}\n"
            f"            error_after: {{count: {error}, period: hour}}\n"
            "        columns:\n"
        )
        yield from _columns(dataset, "          ")


def _models(datasets: list[Dataset]) -> Iterator[str]:
    yield "# Written by `python -m coinswarm.orchestration.dbt_sources`.\nversion: 2\n\nmodels:\n"
    for dataset in datasets:
        description = f"{dataset.description} One row per revision that was known at the run's watermark."
        yield f"  - name: {staging_name(dataset)}\n    description: {_quoted(description)}\n    columns:\n"
        yield from _columns(dataset, "      ")


def _columns(dataset: Dataset, indent: str) -> Iterator[str]:
    for column in (*BEFORE, *dataset.columns, *AFTER):
        shared = column.name in SHARED
        description = f"\"{{{{ doc('raw_{column.name}') }}}}\"" if shared else _quoted(column.description)
        yield f"{indent}- name: {column.name}\n{indent}  description: {description}\n"


def _staging_sql(dataset: Dataset) -> str:
    names = [column.name for column in (*BEFORE, *dataset.columns, *AFTER)]
    select = ",\n".join(f"  {name}" for name in names)
    source = f"{{{{ source('raw_{dataset.domain}', '{dataset.name}') }}}}"
    return f"select\n{select}\nfrom {source}\nwhere known_at <= {{{{ as_of() }}}}\n"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def main() -> int:
    """Write the files; prints those that changed."""
    for path, content in generated_files().items():
        file = PROJECT / path
        if not file.is_file() or file.read_text("utf-8") != content:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, "utf-8")
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
