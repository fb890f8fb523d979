"""Ingest DAGs for Airflow: one per source and cadence, built from the sources' SPECs."""

from coinswarm.orchestration.ingest_dags import ingest_dag
from coinswarm.sources import SOURCES
from quality_gate import QualityGateOperator

for spec in SOURCES.values():
    for cadence in spec.cadences:
        dag = ingest_dag(spec, cadence, gate=QualityGateOperator)
        globals()[dag.dag_id] = dag
