"""One parse cache for all dbt tests: a cold parse of the project costs more than most of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@pytest.fixture(scope="session")
def dbt_target() -> Iterator[Path]:
    with TemporaryDirectory(prefix="coinswarm-dbt-") as folder:
        yield Path(folder)
