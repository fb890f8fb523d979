"""Ingest DAGs: one per source and cadence, built from the sources' SPECs."""

from quality_gate import QualityGateOperator

from coinswarm.orchestration.ingest_dags import ingest_dag
from coinswarm.sources import SOURCES

for spec in SOURCES.values():
    for cadence in spec.cadences:
        dag = ingest_dag(spec, cadence, gate=QualityGateOperator)
        globals()[dag.dag_id] = dag
