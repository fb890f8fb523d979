"""The way of a batch: plan, land, load, validate, publish, and backfills made of many. No Airflow in here."""
