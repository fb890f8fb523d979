-- The batch ledger with its hash chain, the manifest of the lake, quality results and reference data.

-- migrate:up
-- One row per raw table; the lock is the one that serialises its publishes.
CREATE TABLE ops.datasets (
    dataset text PRIMARY KEY,
    lock_id integer NOT NULL UNIQUE,
    natural_key text[] NOT NULL,
    partition_by text NOT NULL
);

CREATE TABLE ops.batches (
    batch_id uuid PRIMARY KEY,
    dataset text NOT NULL REFERENCES ops.datasets,
    source text NOT NULL,
    feed text NOT NULL,
    dag_id text NOT NULL,
    run_id text NOT NULL,
    window_start timestamptz NOT NULL,
    window_end timestamptz NOT NULL,
    staged_count bigint NOT NULL,
    inserted_count bigint NOT NULL,
    revised_count bigint NOT NULL,
    unchanged_count bigint NOT NULL,
    tombstone_count bigint NOT NULL,
    quarantined_count bigint NOT NULL,
    objects jsonb NOT NULL,
    rows_sha256 bytea NOT NULL,
    previous_chain_sha256 bytea,
    chain_sha256 bytea NOT NULL,
    seq bigint NOT NULL,
    known_at timestamptz NOT NULL,
    UNIQUE (dataset, seq),
    UNIQUE (dataset, known_at),
    CHECK (window_end > window_start),
    CHECK ((seq = 1) = (previous_chain_sha256 IS NULL))
);

CREATE TABLE ops.batch_steps (
    batch_id uuid NOT NULL,
    step text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}',
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON ops.batch_steps (batch_id, at);

CREATE TABLE ops.lake_objects (
    object_key text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('landing', 'parquet')),
    batch_id uuid NOT NULL,
    source text NOT NULL,
    dataset text NOT NULL,
    sha256 bytea NOT NULL,
    byte_count bigint NOT NULL,
    row_count bigint,
    request jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON ops.lake_objects (batch_id);

CREATE TABLE ops.quality_results (
    batch_id uuid NOT NULL,
    suite text NOT NULL,
    expectation text NOT NULL,
    column_name text,
    severity text NOT NULL,
    success boolean NOT NULL,
    element_count bigint,
    unexpected_count bigint,
    observed jsonb,
    checked_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON ops.quality_results (batch_id);

CREATE TABLE ops.quality_scores (
    batch_id uuid NOT NULL,
    score_version integer NOT NULL,
    completeness numeric,
    timeliness numeric,
    validity numeric,
    consistency numeric,
    uniqueness numeric,
    score numeric NOT NULL,
    scored_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON ops.quality_scores (batch_id);

CREATE TABLE ops.mart_runs (
    run_id uuid NOT NULL,
    as_of timestamptz NOT NULL,
    node text NOT NULL,
    status text NOT NULL,
    seconds numeric,
    rows bigint,
    finished_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON ops.mart_runs (node, as_of);

-- Reference data, replaced from the registry by the owner.
CREATE TABLE ops.instruments (
    source text NOT NULL,
    venue_symbol text NOT NULL,
    symbol text NOT NULL,
    market text NOT NULL,
    kind text NOT NULL,
    base text NOT NULL,
    quote text NOT NULL,
    settle text NOT NULL,
    contract_size numeric NOT NULL,
    contract_unit text NOT NULL,
    tick_size numeric NOT NULL,
    valid_from date NOT NULL,
    valid_to date,
    PRIMARY KEY (source, symbol)
);

CREATE TABLE ops.planner_symbols (
    planner_symbol text NOT NULL,
    role text NOT NULL,
    source text NOT NULL,
    instrument text NOT NULL,
    rank integer NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (planner_symbol, role, source, instrument)
);

-- The id follows from the content, so that a retry does not quarantine a row twice.
CREATE TABLE quarantine.records (
    quarantine_id uuid GENERATED ALWAYS AS (
        md5(
            batch_id::text || '|' || stage || '|' || coalesce(landing_key, '') || '|' || coalesce(row_no::text, '')
            || '|' || coalesce(field, '') || '|' || reason
        )::uuid
    ) STORED PRIMARY KEY,
    batch_id uuid NOT NULL,
    source text NOT NULL,
    dataset text NOT NULL,
    symbol text,
    row_no bigint,
    field text,
    reason text NOT NULL,
    stage text NOT NULL CHECK (stage IN ('parse', 'gate', 'publish')),
    payload jsonb,
    landing_key text,
    quarantined_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON quarantine.records (batch_id);

SELECT ops.make_append_only(t) FROM unnest(ARRAY[
    'ops.batches', 'ops.batch_steps', 'ops.lake_objects', 'ops.quality_results', 'ops.quality_scores',
    'ops.mart_runs', 'quarantine.records'
]::regclass[]) AS t;

-- Serialise publishes of one dataset until the end of the transaction.
CREATE FUNCTION ops.lock_for_publish(target text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    lock integer := (SELECT lock_id FROM ops.datasets WHERE dataset = target);
BEGIN
    IF lock IS NULL THEN
        RAISE EXCEPTION 'dataset % has no raw table', left(target, 40) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(20411, lock);
END
$$;

-- A moment T such that every row with known_at <= T is committed: it holds all publish locks in share mode, so that no
-- publish is under way, and reads the clock. The locks go with the subtransaction, at once and also when cancelled.
-- Call it in a statement of its own: the statement that calls it may have an older snapshot.
CREATE FUNCTION ops.safe_now() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog AS $$
DECLARE
    lock integer;
    moment timestamptz;
BEGIN
    BEGIN
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

-- Hash that links a ledger row to the one before it: sha-256 of the previous hash and all other columns as JSON.
CREATE FUNCTION ops.chain_hash(batch ops.batches) RETURNS bytea
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT sha256(
        coalesce(batch.previous_chain_sha256, ''::bytea)
        || convert_to(
            jsonb_build_object(
                'batch_id', batch.batch_id, 'dataset', batch.dataset, 'source', batch.source, 'feed', batch.feed,
                'dag_id', batch.dag_id, 'run_id', batch.run_id,
                'window_start', extract(epoch FROM batch.window_start),
                'window_end', extract(epoch FROM batch.window_end),
                'staged', batch.staged_count, 'inserted', batch.inserted_count, 'revised', batch.revised_count,
                'unchanged', batch.unchanged_count, 'tombstones', batch.tombstone_count,
                'quarantined', batch.quarantined_count, 'objects', batch.objects,
                'rows_sha256', encode(batch.rows_sha256, 'hex'), 'seq', batch.seq,
                'known_at', extract(epoch FROM batch.known_at)
            )::text,
            'UTF8'
        )
    )
$$;

REVOKE ALL ON FUNCTION ops.lock_for_publish(text), ops.safe_now(), ops.chain_hash(ops.batches) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ops.lock_for_publish(text) TO ingest;
GRANT EXECUTE ON FUNCTION ops.safe_now() TO ingest, transform, planner, auditor;
GRANT EXECUTE ON FUNCTION ops.chain_hash(ops.batches) TO ingest, auditor;

GRANT SELECT ON ops.datasets TO ingest, transform, planner, auditor;
GRANT SELECT ON ops.instruments, ops.planner_symbols TO ingest, transform, planner, auditor;
GRANT SELECT, INSERT ON ops.batches, ops.batch_steps, ops.lake_objects, ops.quality_results, ops.quality_scores,
    quarantine.records TO ingest;
GRANT SELECT ON ops.batches, ops.quality_results, ops.quality_scores, ops.mart_runs TO transform;
GRANT INSERT ON ops.mart_runs TO transform;
GRANT SELECT ON ops.batches, ops.batch_steps, ops.lake_objects, ops.quality_results, ops.quality_scores, ops.mart_runs,
    quarantine.records TO auditor;

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
