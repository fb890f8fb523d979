# The one image of a deployment: every Airflow component and the migration job.
FROM apache/airflow:3.3.2-python3.11

SHELL ["/bin/bash", "-o", "pipefail", "-c"]

USER root
COPY packages.txt /tmp/packages.txt
# hadolint ignore=DL3008
RUN apt-get update \
    && xargs --no-run-if-empty --arg-file=/tmp/packages.txt apt-get install --yes --no-install-recommends \
    && rm -rf /var/lib/apt/lists/* /tmp/packages.txt \
    && install --directory --owner=airflow --group=root --mode=0775 /opt/coinswarm

USER airflow
WORKDIR /opt/airflow
COPY --chown=airflow:root requirements.txt ./
# The lock is complete: nothing is resolved here, and every file must have its hash.
RUN pip install --no-cache-dir --no-deps --require-hashes --requirement requirements.txt

COPY --chown=airflow:root airflow_settings.yaml pyproject.toml ./
COPY --chown=airflow:root include include
COPY --chown=airflow:root dbt_project dbt_project
COPY --chown=airflow:root plugins plugins
COPY --chown=airflow:root dags dags

ENV PYTHONPATH=/opt/airflow/include
