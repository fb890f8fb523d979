"""The way of a batch: plan, land, load, validate, publish, and the backfill made of many. Plain functions, no Airflow."""
