"""What the project promises about itself: sources equal to declarations, everything described, contracts, layers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from coinswarm.connections import Connection
from coinswarm.datasets import STORED
from coinswarm.orchestration import marts
from coinswarm.orchestration.dbt_sources import PROJECT, generated_files

pytestmark = pytest.mark.dbt

VERSION_COLUMNS = {"is_tombstone", "known_at", "run_id", "row_hash"}


@pytest.fixture(scope="module")
def manifest(dbt_target: Path) -> Any:
    # Parsing needs a profile, not a server.
    nowhere = Connection("pg_transform", host="127.0.0.1", port=1, login="transform", password="x", schema="none")
    with marts._environment(nowhere):
        parsed = marts._invoke(["parse", "--vars", "{}"], dbt_target / "parse")
    assert parsed.success, parsed.exception
    return parsed.result


def models_of(manifest: Any) -> list[Any]:
    return [node for node in manifest.nodes.values() if node.resource_type == "model"]


def test_staging_when_generated_again_then_equals_what_is_committed() -> None:
    stale = [
        path
        for path, content in generated_files().items()
        if not (PROJECT / path).is_file() or (PROJECT / path).read_text("utf-8") != content
    ]
    assert not stale, f"run python -m coinswarm.orchestration.dbt_sources: {stale}"


def test_sources_when_listed_then_every_stored_dataset_has_one_with_freshness(manifest: Any) -> None:
    raw = {source.name: source for source in manifest.sources.values() if source.schema == "raw"}
    assert set(raw) == {dataset.name for dataset in STORED}
    assert all(source.freshness.warn_after.count and source.loaded_at_field == "known_at" for source in raw.values())


def test_documentation_when_counted_then_every_model_and_column_has_one(manifest: Any) -> None:
    nodes = [*models_of(manifest), *manifest.sources.values()]
    nodes += [node for node in manifest.nodes.values() if node.resource_type == "seed"]
    bare = [node.name for node in nodes if not node.description.strip()]
    bare += [
        f"{node.name}.{column.name}"
        for node in nodes
        for column in node.columns.values()
        if not column.description.strip() or "{{" in column.description
    ]
    bare += [f"{node.name} has no columns" for node in nodes if not node.columns]
    bare += [exposure.name for exposure in manifest.exposures.values() if not exposure.description]
    assert not bare


def test_public_marts_when_listed_then_have_contract_group_and_key(manifest: Any) -> None:
    public = [model for model in models_of(manifest) if str(model.access) == "public"]
    assert {model.name for model in public} == {*marts.MARTS, "feature_catalog"}
    for model in public:
        assert model.config.contract.enforced, model.name
        assert model.config.group == "planner", model.name
        assert all(column.data_type for column in model.columns.values()), model.name
        if model.name in marts.MARTS:
            assert set(model.columns) > VERSION_COLUMNS, model.name
            assert model.config.full_refresh is False, model.name
            keys = [str(c.expression or "") + " ".join(c.columns) for c in model.constraints]
            assert any("known_at" in key and "symbol" in key for key in keys), model.name


def test_marts_when_read_by_someone_then_an_exposure_says_so(manifest: Any) -> None:
    shown = {node for exposure in manifest.exposures.values() for node in exposure.depends_on.nodes}
    assert {f"model.coinswarm.{mart}" for mart in marts.MARTS} <= shown


def test_layers_when_followed_then_only_staging_reads_sources(manifest: Any) -> None:
    for model in models_of(manifest):
        layer = model.fqn[1]
        reads_source = any(node.startswith("source.") for node in model.depends_on.nodes)
        # A view that planners read must not be dropped with the staging view behind it.
        assert reads_source == (layer == "staging" or model.name == "feature_catalog"), model.name
        prefix = {"staging": r"stg_[a-z]+__[a-z_]+", "intermediate": r"int_[a-z]+__[a-z_]+"}.get(layer, r"[a-z_]+")
        assert re.fullmatch(prefix, model.name), model.name


def test_sql_when_searched_then_never_asks_for_the_present_time() -> None:
    clock = re.compile(r"\b(now\(\)|current_timestamp|current_date|clock_timestamp|localtimestamp)", re.IGNORECASE)
    guilty = [path.name for path in PROJECT.glob("models/**/*.sql") if clock.search(path.read_text("utf-8"))]
    assert not guilty
