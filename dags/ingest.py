"""Ingest DAGs for Airflow: one per source and cadence, built from the sources' SPECs."""

from airflow.sdk import get_parsing_context

from coinswarm.orchestration.ingest_dags import ingest_dag, ingest_dag_id
from coinswarm.sources import SOURCES
from quality_gate import QualityGateOperator

# A task's process parses this file again and wants its own DAG only.
wanted = get_parsing_context().dag_id

for spec in SOURCES.values():
    for cadence in spec.cadences:
        if wanted in (None, ingest_dag_id(spec, cadence)):
            dag = ingest_dag(spec, cadence, gate=QualityGateOperator)
            globals()[dag.dag_id] = dag
