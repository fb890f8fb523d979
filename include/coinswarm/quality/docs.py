"""Data Docs: the latest verdict of every suite as pages, rendered from stored results and published to the lake.

Nothing is validated again. A gate run stores counts; the expectations follow from the declaration and the batch, so the
pages can be rebuilt at any time, apart from the hot path. They need nothing from outside of the site.
"""

from __future__ import annotations

import hashlib
import mimetypes
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from html import escape
from pathlib import Path
from typing import Any

from coinswarm.batches import Batch
from coinswarm.connections import Connection
from coinswarm.datasets import DATASETS, Severity
from coinswarm.errors import StoreUnavailable
from coinswarm.quality.docs_pages import Line, make_self_contained, severity_mark
from coinswarm.quality.gate import VERDICT
from coinswarm.quality.suites import Suite, expectations_of, load_great_expectations, new_context, suite_of
from coinswarm.storage.database import Session, connect

PREFIX = "data_docs/"
SITE = "coinswarm"


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One gate run as it is in the ledger: results by check name."""

    batch: Batch
    expected_symbols: tuple[str, ...]
    passed: bool
    checked_at: datetime
    rows: int
    quarantined: int
    score: Decimal | None
    reasons: tuple[str, ...]
    results: dict[str, StoredResult]


@dataclass(frozen=True, slots=True)
class StoredResult:
    """One row of `ops.quality_results`."""

    severity: str
    success: bool
    elements: int | None
    unexpected: int | None
    observed: dict[str, Any]


def render_data_docs(connection: Connection, target_dir: Path) -> int:
    """Render the latest gate run of every suite into `target_dir`, which is replaced as a whole.

    Args:
        connection: the warehouse as a role that reads the ledger (`ingest`, `transform`, `auditor`).
        target_dir: folder of the site; `index.html` is its entry. It is complete at every moment.

    Returns:
        Number of suites rendered.
    """
    with connect(connection, autocommit=True) as session:
        runs = list(_latest_runs(session))
    target_dir.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{target_dir.name}-", dir=target_dir.parent))
    try:
        _build(runs, fresh)
        make_self_contained(fresh, [_line(run, fresh) for run in runs])
        fresh.chmod(0o755)
        if target_dir.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target_dir.name}-old-", dir=target_dir.parent))
            target_dir.rename(old / "site")
            fresh.rename(target_dir)
            shutil.rmtree(old)
        else:
            fresh.rename(target_dir)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return len(runs)


def publish_data_docs(connection: Connection, lake: Connection, target_dir: Path) -> int:
    """Render the site into `target_dir` and upload it to the lake; see `render_data_docs` and `upload_site`.

    Returns:
        Number of suites rendered.
    """
    suites = render_data_docs(connection, target_dir)
    upload_site(lake, target_dir)
    return suites


def upload_site(lake: Connection, site_dir: Path) -> int:
    """Upload a rendered site under `data_docs/` of the lake's bucket: changed files only; what is gone goes there too.

    Returns:
        Number of files uploaded.

    Raises:
        StoreUnavailable: the lake does not answer.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    client = boto3.client(
        "s3",
        endpoint_url=lake.host or None,
        aws_access_key_id=lake.login or None,
        aws_secret_access_key=lake.password or None,
        region_name=lake.extra.get("region", "us-east-1"),
        config=Config(connect_timeout=5, read_timeout=60, s3={"addressing_style": "path"}),
    )
    try:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=lake.schema, Prefix=PREFIX)
        there = {found["Key"]: found["ETag"].strip('"') for page in pages for found in page.get("Contents", [])}
        files = {PREFIX + p.relative_to(site_dir).as_posix(): p for p in sorted(site_dir.rglob("*")) if p.is_file()}
        uploaded = 0
        for key, path in files.items():
            body = path.read_bytes()
            if there.get(key) == hashlib.md5(body, usedforsecurity=False).hexdigest():
                continue
            content_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            client.put_object(Bucket=lake.schema, Key=key, Body=body, ContentType=content_type)
            uploaded += 1
        for key in there.keys() - files.keys():
            client.delete_object(Bucket=lake.schema, Key=key)
    except (BotoCoreError, ClientError) as error:
        raise StoreUnavailable(f"lake: {error}") from error
    return uploaded


def _latest_runs(session: Session) -> Iterator[StoredRun]:
    verdicts = session.execute(
        "select distinct on (suite) suite, batch_id, checked_at, success, element_count, unexpected_count, observed"
        " from ops.quality_results where expectation = %s order by suite, checked_at desc",
        [VERDICT],
    ).fetchall()
    for suite, batch_id, checked_at, passed, rows, quarantined, observed in verdicts:
        batch = Batch.from_json(observed["batch"])
        if batch.dataset not in DATASETS:
            continue  # a dataset that was declared once and is no more
        results = session.execute(
            "select expectation, severity, success, element_count, unexpected_count, coalesce(observed, '{}')"
            " from ops.quality_results where batch_id = %s and suite = %s and checked_at = %s and expectation <> %s",
            [batch_id, suite, checked_at, VERDICT],
        ).fetchall()
        yield StoredRun(
            batch,
            tuple(observed.get("expected_symbols", ())),
            passed,
            checked_at,
            rows,
            quarantined,
            None if observed.get("score") is None else Decimal(observed["score"]),
            tuple(observed.get("reasons", ())),
            {name: StoredResult(*rest) for name, *rest in results},
        )


def _line(run: StoredRun, site: Path) -> Line:
    suite = f"{run.batch.source}.{run.batch.feed}"
    (page,) = (site / "validations").rglob(f"{run.batch.batch_id}.html")
    return Line(
        suite=suite,
        checked_at=run.checked_at,
        passed=run.passed,
        score=run.score,
        rows=run.rows,
        quarantined=run.quarantined,
        warnings=sum(not result.success and result.severity == Severity.WARN for result in run.results.values()),
        reasons=run.reasons,
        page=page.relative_to(site).as_posix(),
    )


def _build(runs: list[StoredRun], folder: Path) -> None:
    gx = load_great_expectations()
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from great_expectations.core.run_identifier import RunIdentifier
    from great_expectations.data_context.types.resource_identifiers import (
        ExpectationSuiteIdentifier,
        ValidationResultIdentifier,
    )

    context = new_context()
    context.add_data_docs_site(
        SITE,
        {
            "class_name": "SiteBuilder",
            "site_name": "Coinswarm data quality",
            "show_how_to_buttons": False,
            "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
            "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        },
    )
    for run in runs:
        suite = suite_of(DATASETS[run.batch.dataset], run.batch, run.expected_symbols)
        results = list(_results(suite, run))
        context.suites.add(
            gx.ExpectationSuite(name=suite.name, expectations=[expectation for expectation, _ in results])
        )
        good = sum(result.success for _, result in results)
        # The name becomes a folder and part of a link: an Airflow run id has colons and signs.
        identifier = RunIdentifier(run_name=f"{run.batch.window.start:%Y%m%dT%H%MZ}", run_time=run.checked_at)
        context.validation_results_store.add(
            ValidationResultIdentifier(ExpectationSuiteIdentifier(suite.name), identifier, str(run.batch.batch_id)),
            ExpectationSuiteValidationResult(
                success=run.passed,
                results=[result for _, result in results],
                suite_name=suite.name,
                suite_parameters={},
                statistics={
                    "evaluated_expectations": len(results),
                    "successful_expectations": good,
                    "unsuccessful_expectations": len(results) - good,
                    "success_percent": 100 * good / len(results) if results else None,
                },
                meta={
                    "run_id": identifier,
                    "great_expectations_version": gx.__version__,
                    "batch_spec": {
                        "datasource": "warehouse",
                        "data_asset_name": f"staging.{run.batch.dataset}",
                        "batch_id": str(run.batch.batch_id),
                        "window": f"{run.batch.window.start.isoformat()} to {run.batch.window.end.isoformat()}",
                        "dag_run": f"{run.batch.dag_id} {run.batch.run_id}",
                        "rows": run.rows,
                    },
                    "batch_markers": {},
                    "active_batch_definition": {
                        "datasource_name": "warehouse",
                        "data_connector_name": "fluent",
                        "data_asset_name": f"staging.{run.batch.dataset}",
                        "batch_identifiers": {"batch_id": str(run.batch.batch_id)},
                    },
                },
            ),
        )
    context.build_data_docs()


def _results(suite: Suite, run: StoredRun) -> Iterator[tuple[Any, Any]]:
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult

    for check, expectation in zip(suite.checks, expectations_of(suite), strict=True):
        stored = run.results.get(check.name)
        if stored is None:
            continue  # a rule that is newer than the run
        expectation.description = severity_mark(check.description, stored.severity)
        unexpected = stored.unexpected or 0
        detail: dict[str, Any] = {"observed_value": unexpected}
        if check.native is not None:
            elements = stored.elements or 0
            detail = {
                "element_count": elements,
                "unexpected_count": unexpected,
                "unexpected_percent": 100 * unexpected / elements if elements else 0.0,
                "partial_unexpected_list": [_example(one) for one in stored.observed.get("examples", ())],
                "observed_value": check.native.arguments.get("column_list"),
            }
        elif stored.observed.get("examples"):
            expectation.notes = [_example(one) for one in stored.observed["examples"]]
        error = stored.observed.get("error")
        yield (
            expectation,
            ExpectationValidationResult(
                success=stored.success,
                expectation_config=expectation.configuration,
                result=detail,
                meta={},
                exception_info={
                    "raised_exception": error is not None,
                    "exception_traceback": None,
                    "exception_message": error and escape(error),
                },
            ),
        )


def _example(finding: dict[str, Any]) -> str:
    parts = (finding.get("symbol"), finding.get("event_at"), finding.get("observed"))
    # What a provider sent: Great Expectations puts it into the page as it is.
    return escape(" ".join(str(part) for part in parts if part) or str(finding.get("text", "")))
