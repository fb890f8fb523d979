-- The latest verdict of each suite is read by Data Docs and the Feeds page; results are append-only and many.

-- migrate:up
CREATE INDEX quality_results_verdicts ON ops.quality_results (suite, checked_at DESC) WHERE expectation = 'gate';

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
