-- What is known about the live streams: sessions, gaps, and a verdict for every minute.

-- migrate:up
-- Events in the life of a session; its state is that of the newest.
CREATE TABLE ops.stream_sessions (
    session_id uuid NOT NULL,
    shard text NOT NULL,
    owner text NOT NULL,
    fencing_token bigint NOT NULL,
    state text NOT NULL CHECK (state IN ('started', 'live', 'handed_over', 'ended', 'failed', 'lease_lost', 'killed')),
    reason text,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    counters jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX ON ops.stream_sessions (session_id, at);
CREATE INDEX ON ops.stream_sessions (shard, at DESC);

-- Revisions of a hole. A null count is not known; what cannot be fetched again stays open.
CREATE TABLE ops.stream_gaps (
    gap_id uuid NOT NULL,
    revision integer NOT NULL CHECK (revision > 0),
    venue text NOT NULL,
    symbol text NOT NULL,
    channel text NOT NULL,
    state text NOT NULL CHECK (state IN ('open', 'repaired', 'partly_repaired')),
    reason text NOT NULL CHECK (reason IN ('sequence', 'checksum', 'silence', 'disconnect', 'overflow', 'redis',
        'malformed', 'trimmed', 'crash')),
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    first_missing text,
    last_missing text,
    missing_count bigint CHECK (missing_count >= 0),
    repaired_count bigint NOT NULL DEFAULT 0 CHECK (repaired_count >= 0),
    session_id uuid,
    detail jsonb NOT NULL DEFAULT '{}',
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (gap_id, revision),
    CHECK (closed_at >= opened_at)
);
CREATE INDEX ON ops.stream_gaps (recorded_at);
CREATE INDEX ON ops.stream_gaps (venue, symbol, channel, opened_at);

-- Revisions of the verdict on a minute: verified = proof of completeness held, clean = no sign of trouble but no proof
-- exists, suspect = a hole, resync, failed checksum, reconnect or stale stream, missing = nothing came while due.
CREATE TABLE ops.stream_verdicts (
    venue text NOT NULL,
    symbol text NOT NULL,
    channel text NOT NULL,
    minute timestamptz NOT NULL CHECK (minute = date_trunc('minute', minute, 'UTC')),
    verdict text NOT NULL CHECK (verdict IN ('verified', 'clean', 'suspect', 'missing')),
    events bigint NOT NULL CHECK (events >= 0),
    gaps integer NOT NULL DEFAULT 0 CHECK (gaps >= 0),
    detail jsonb NOT NULL DEFAULT '{}',
    session_id uuid,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (venue, symbol, channel, minute, recorded_at)
);
CREATE INDEX ON ops.stream_verdicts (recorded_at);

-- Gaps and verdicts are read as of a mart's watermark, so they are recorded as rows of raw are published: one
-- transaction at a time, under lock 0, which ops.safe_now() waits for; recorded_at is given here and only increases.
CREATE FUNCTION ops.lock_stream_ledger() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(20411, 0);
    RETURN NULL;
END
$$;

CREATE FUNCTION ops.stamp_recorded_at() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    latest timestamptz;
BEGIN
    EXECUTE format('SELECT max(recorded_at) FROM %I.%I', tg_table_schema, tg_table_name) INTO latest;
    NEW.recorded_at := greatest(clock_timestamp(), latest + interval '1 microsecond');
    RETURN NEW;
END
$$;

CREATE TRIGGER serialise BEFORE INSERT ON ops.stream_gaps
    FOR EACH STATEMENT EXECUTE FUNCTION ops.lock_stream_ledger();
CREATE TRIGGER stamp BEFORE INSERT ON ops.stream_gaps FOR EACH ROW EXECUTE FUNCTION ops.stamp_recorded_at();
CREATE TRIGGER serialise BEFORE INSERT ON ops.stream_verdicts
    FOR EACH STATEMENT EXECUTE FUNCTION ops.lock_stream_ledger();
CREATE TRIGGER stamp BEFORE INSERT ON ops.stream_verdicts FOR EACH ROW EXECUTE FUNCTION ops.stamp_recorded_at();

CREATE OR REPLACE FUNCTION ops.safe_now() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
DECLARE
    lock integer;
    moment timestamptz;
BEGIN
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(20411, 0);
        FOR lock IN SELECT lock_id FROM ops.datasets ORDER BY lock_id LOOP
            PERFORM pg_advisory_xact_lock_shared(20411, lock);
        END LOOP;
        -- Less a microsecond: a publish right after us is later than T even if the clock has not ticked in between.
        moment := clock_timestamp() - interval '1 microsecond';
        RAISE EXCEPTION USING ERRCODE = 'CS001';
    EXCEPTION WHEN SQLSTATE 'CS001' THEN
        RETURN moment;
    END;
END
$$;

CREATE VIEW ops.stream_gaps_current AS
    SELECT DISTINCT ON (gap_id) * FROM ops.stream_gaps ORDER BY gap_id, revision DESC;
CREATE VIEW ops.stream_verdicts_current AS
    SELECT DISTINCT ON (venue, symbol, channel, minute) *
    FROM ops.stream_verdicts ORDER BY venue, symbol, channel, minute, recorded_at DESC;

SELECT ops.make_append_only(t) FROM unnest(ARRAY[
    'ops.stream_sessions', 'ops.stream_gaps', 'ops.stream_verdicts'
]::regclass[]) AS t;

REVOKE ALL ON FUNCTION ops.lock_stream_ledger(), ops.stamp_recorded_at() FROM PUBLIC;
GRANT SELECT, INSERT ON ops.stream_sessions, ops.stream_gaps, ops.stream_verdicts TO ingest;
GRANT SELECT ON ops.stream_sessions, ops.stream_gaps, ops.stream_verdicts TO transform, planner, auditor;
GRANT SELECT ON ops.stream_gaps_current, ops.stream_verdicts_current TO ingest, transform, planner, auditor;

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
