"""Airflow wiring: the only part of the package that imports Airflow."""
