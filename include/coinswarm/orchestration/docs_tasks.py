"""Tasks that render documentation into the folder that the plugin's pages serve."""

from __future__ import annotations

from airflow.sdk import task

from coinswarm.orchestration.connections import resolve


@task
def publish_data_docs() -> str:
    """Render the latest gate results as Data Docs, for the UI and the lake."""
    from coinswarm.documents import folder
    from coinswarm.quality.docs import publish_data_docs as publish

    target = folder("data_docs")
    publish(resolve("pg_ingest"), resolve("s3_lake"), target)
    return str(target)


@task
def publish_dbt_docs() -> str:
    """Render the dbt docs with lineage, for the UI."""
    from coinswarm.documents import folder
    from coinswarm.orchestration.marts import generate_docs

    target = folder("dbt_docs")
    generate_docs(resolve("pg_transform"), target)
    return str(target)
