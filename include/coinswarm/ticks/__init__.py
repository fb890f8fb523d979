"""Live feeds: venues' WebSockets to Redis Streams. No Airflow in here."""
