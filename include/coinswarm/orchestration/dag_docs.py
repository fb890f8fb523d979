"""`doc_md` of every DAG, with the headings that a test demands."""

from __future__ import annotations

from coinswarm.sources.spec import Cadence, Mode, SourceSpec

HEADINGS = (
    "What it produces",
    "Source and licence",
    "Schedule and window",
    "If it fails (triage)",
    "Safe to re-run?",
    "Owner, tier, deadline",
)


def render(sections: dict[str, str]) -> str:
    """Markdown with the fixed headings.

    Raises:
        ValueError: a heading is missing or unknown.
    """
    if tuple(sections) != HEADINGS:
        raise ValueError(f"a DAG document has exactly these headings, in order: {', '.join(HEADINGS)}")
    return "\n\n".join(f"### {heading}\n\n{text.strip()}" for heading, text in sections.items())


def ingest(spec: SourceSpec, cadence: Cadence) -> str:
    """Document of an ingest DAG, from the source's SPEC."""
    feeds = spec.feeds_at(cadence)
    rows = "\n".join(
        f"- `raw.{feed.dataset}` ({feed.name}"
        + (", present state only" if feed.mode is Mode.NOW else "")
        + f"), stale after {feed.freshness}"
        for feed in feeds
    )
    return render(
        {
            "What it produces": (
                f"Revisions in:\n\n{rows}\n\nVerbatim bytes lie under `landing/{spec.slug}/` of the lake."
            ),
            "Source and licence": f"[{spec.title}]({spec.docs_url}). {spec.licence}",
            "Schedule and window": (
                f"Every {cadence.value}, for exactly the interval that just closed (half-open, UTC, bars by open time)."
                " Past intervals: `airflow backfill create` for days, the DAG `backfill_history` for months."
            ),
            "If it fails (triage)": (
                f"`land_payload` red: read the error class. *AccessDenied*: mend connection `{spec.connection_id}`. "
                "*Blocked*: the provider refuses this region. *RateLimited*, *Unavailable*: it retries by itself. "
                "*ContractViolation*: run `coinswarm parse` on the landed object that the error names. "
                "`validate_batch` red: nothing was published; reasons are in `quarantine.records` and in Data Docs."
            ),
            "Safe to re-run?": (
                "Yes. A retry completes the same batch; clearing a finished run asks the provider again, and only "
                "changed values become new revisions."
            ),
            "Owner, tier, deadline": (
                f"data-engineering, tier {spec.tier}, done within {cadence.period} of being queued."
            ),
        }
    )
