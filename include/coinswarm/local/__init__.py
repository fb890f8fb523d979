"""The one-machine default: embedded PostgreSQL, Redis, S3 and Airflow, each by its own binary, under a supervisor."""
