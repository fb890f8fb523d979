-- Where dbt works: its views and work tables, the scratch schema of rebuilds, and how far each mart has read raw.

-- migrate:up
-- `transform` holds what stands between raw and marts and is rewritten at will; planners never see it.
CREATE SCHEMA transform AUTHORIZATION transform;
-- A rebuild as of an earlier moment is built here by the same models, compared with the versions, and dropped.
CREATE SCHEMA rebuild AUTHORIZATION transform;
GRANT USAGE ON SCHEMA transform TO auditor;
ALTER DEFAULT PRIVILEGES FOR ROLE transform IN SCHEMA transform GRANT SELECT ON TABLES TO auditor;

-- One row per mart and run, written in the transaction that appends the versions: `versions` is how many it appended.
CREATE TABLE ops.mart_watermarks (
    mart text NOT NULL,
    as_of timestamptz NOT NULL,
    run_id uuid NOT NULL,
    versions bigint NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (mart, as_of)
);
SELECT ops.make_append_only('ops.mart_watermarks');
GRANT SELECT, INSERT ON ops.mart_watermarks TO transform;
GRANT SELECT ON ops.mart_watermarks TO planner, auditor;

-- The surface of one hour is over all options of an asset, which the key does not lead to.
CREATE INDEX option_quotes_underlying ON raw.option_quotes (underlying, event_at);

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
