"""Tells Airflow of the moment from which our deadlines count."""

from airflow.plugins_manager import AirflowPlugin

from coinswarm.orchestration.deadlines import RunQueued


class RunDeadlines(AirflowPlugin):
    """Registers the reference, which the scheduler looks up by its name when it makes a run."""

    name = "coinswarm_run_deadlines"
    deadline_references = [RunQueued]
