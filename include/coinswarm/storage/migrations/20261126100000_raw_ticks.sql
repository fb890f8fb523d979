-- Raw tables of the live feeds, daily partitions for trades, and the entry in the ledger with which a day may leave.

-- migrate:up
-- How long the range of one partition is. Trades are many and kept for days, all else is few and kept for ever.
ALTER TABLE ops.datasets ADD COLUMN partition_every text NOT NULL DEFAULT 'year'
    CHECK (partition_every IN ('year', 'day'));

CREATE TABLE raw.trades (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    trade_id text NOT NULL,
    trade_kind text,
    price numeric,
    size_base numeric,
    side text,
    size_native numeric,
    sequence bigint,
    is_liquidation boolean,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT trades_complete CHECK (is_tombstone OR num_nulls(trade_kind, price, size_base, side) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('trades', 12, ARRAY['trade_id'], 'event_at', 'day');
SELECT ops.equip_dataset('trades');
-- What is staged can be staged again from the lake, so it need not go through the write-ahead log.
ALTER TABLE staging.trades SET UNLOGGED;

CREATE TABLE raw.liquidations (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    side text NOT NULL,
    price numeric NOT NULL,
    size_base numeric NOT NULL,
    size_native numeric,
    price_kind text,
    is_sampled boolean,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT liquidations_complete CHECK (is_tombstone OR num_nulls(price_kind, is_sampled) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('liquidations', 13, ARRAY['event_at', 'side', 'price', 'size_base'], 'event_at');
SELECT ops.equip_dataset('liquidations');

CREATE TABLE raw.order_books (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    bids jsonb,
    asks jsonb,
    last_update_id bigint,
    spread_bps numeric,
    imbalance numeric,
    ofi numeric,
    trade_imbalance numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT order_books_complete CHECK (is_tombstone OR num_nulls(bids, asks) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('order_books', 14, ARRAY['event_at'], 'event_at');
SELECT ops.equip_dataset('order_books');

CREATE TABLE raw.trade_bars (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    open numeric,
    high numeric,
    low numeric,
    close numeric,
    vwap numeric,
    volume_base numeric,
    volume_quote numeric,
    buy_base numeric,
    sell_base numeric,
    trade_count bigint,
    buy_count bigint,
    largest_quote jsonb,
    first_id text,
    last_id text,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT trade_bars_complete CHECK (
        is_tombstone OR num_nulls(open, high, low, close, vwap, volume_base, volume_quote, buy_base, sell_base,
            trade_count, buy_count) = 0
    )
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('trade_bars', 15, ARRAY['event_at'], 'event_at');
SELECT ops.equip_dataset('trade_bars');

-- One row per partition that was dropped. Its batches keep their entries in ops.batches and their objects in the lake.
-- `key_count` are the keys that raw no longer has at all: a key that was revised to another day lives on there.
CREATE TABLE ops.expiries (
    dataset text NOT NULL REFERENCES ops.datasets,
    range_start timestamptz NOT NULL,
    range_end timestamptz NOT NULL,
    batch_ids uuid[] NOT NULL,
    row_count bigint NOT NULL,
    key_count bigint NOT NULL,
    expired_by text NOT NULL,
    expired_at timestamptz NOT NULL,
    seq bigint NOT NULL,
    previous_chain_sha256 bytea,
    chain_sha256 bytea NOT NULL,
    PRIMARY KEY (dataset, range_start),
    UNIQUE (dataset, seq),
    CHECK (range_end > range_start),
    CHECK ((seq = 1) = (previous_chain_sha256 IS NULL))
);
SELECT ops.make_append_only('ops.expiries');
GRANT SELECT ON ops.expiries TO ingest, transform, planner, auditor;

-- Hash that links an expiry to the one before it, as ops.chain_hash does for batches.
CREATE FUNCTION ops.expiry_hash(expiry ops.expiries) RETURNS bytea
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT sha256(
        coalesce(expiry.previous_chain_sha256, ''::bytea)
        || convert_to(
            jsonb_build_object(
                'dataset', expiry.dataset, 'range_start', extract(epoch FROM expiry.range_start),
                'range_end', extract(epoch FROM expiry.range_end), 'batch_ids', to_jsonb(expiry.batch_ids),
                'rows', expiry.row_count, 'keys', expiry.key_count, 'expired_by', expiry.expired_by,
                'expired_at', extract(epoch FROM expiry.expired_at), 'seq', expiry.seq
            )::text,
            'UTF8'
        )
    )
$$;

-- Create the partitions that `moments` need, by year (earlier than 2010 is one partition) or by day, as the dataset says.
-- SECURITY DEFINER because ingest owns nothing in raw. ATTACH, not PARTITION OF: readers are not locked out.
-- A day that has expired does not come back: its trades are in the lake, and the ledger says that raw has none.
CREATE OR REPLACE FUNCTION ops.ensure_partitions(target text, moments timestamptz[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET timezone = 'UTC' AS $$
DECLARE
    declared ops.datasets := (SELECT d FROM ops.datasets AS d WHERE dataset = target);
    lower_end timestamptz;
    is_oldest boolean;
    part text;
    created integer := 0;
BEGIN
    IF declared.dataset IS NULL THEN
        RAISE EXCEPTION 'dataset % has no raw table', left(target, 40) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM unnest(moments) AS m WHERE m IS NULL OR NOT isfinite(m)
            OR m < '1900-01-01 00:00+00' OR m >= '2100-01-01 00:00+00') THEN
        RAISE EXCEPTION 'a partition of % is asked for outside of 1900 to 2099', target
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF declared.partition_every = 'day' AND (SELECT count(DISTINCT date_trunc('day', m)) FROM unnest(moments) AS m) > 100
    THEN
        RAISE EXCEPTION 'more than 100 daily partitions of % are asked for at once', target
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR lower_end IN
        SELECT DISTINCT CASE WHEN declared.partition_every = 'year' AND m < '2010-01-01 00:00+00'
            THEN '2009-01-01 00:00+00' ELSE date_trunc(declared.partition_every, m) END
        FROM unnest(moments) AS m ORDER BY 1
    LOOP
        is_oldest := declared.partition_every = 'year' AND lower_end < '2010-01-01 00:00+00';
        part := target || CASE
            WHEN is_oldest THEN '_before_2010'
            WHEN declared.partition_every = 'year' THEN to_char(lower_end, '"_"YYYY')
            ELSE to_char(lower_end, '"_"YYYYMMDD')
        END;
        CONTINUE WHEN to_regclass(format('raw.%I', part)) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(20412, declared.lock_id);
        CONTINUE WHEN to_regclass(format('raw.%I', part)) IS NOT NULL;
        IF EXISTS (SELECT FROM ops.expiries AS e WHERE e.dataset = target AND e.range_start = lower_end) THEN
            RAISE EXCEPTION '% of % has expired', target, to_char(lower_end, 'YYYY-MM-DD')
                USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'The lake keeps what raw has dropped.';
        END IF;
        EXECUTE format('CREATE TABLE raw.%I (LIKE raw.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
            part, target);
        EXECUTE format('ALTER TABLE raw.%I ATTACH PARTITION raw.%I FOR VALUES FROM (%s) TO (%L)', target, part,
            CASE WHEN is_oldest THEN 'MINVALUE' ELSE quote_literal(lower_end) END,
            lower_end + ('1 ' || declared.partition_every)::interval);
        PERFORM ops.make_append_only(format('raw.%I', part)::regclass);
        EXECUTE format('GRANT SELECT ON raw.%I TO auditor', part);
        created := created + 1;
    END LOOP;
    RETURN created;
END
$$;

-- Drop one daily partition and enter it in the ledger. It refuses a day that is not older than `keep_days`, and one whose
-- rows are not what the ledger says: what was altered must not leave unseen. Every batch that it takes lies in that day
-- alone and has its rows in the lake. Whether the lake still holds the objects is for the caller to see before.
-- SECURITY DEFINER because ingest owns nothing in raw; lock_timeout because readers must not queue up behind us.
CREATE FUNCTION ops.expire_partition(target text, range_day date, keep_days integer) RETURNS ops.expiries
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET timezone = 'UTC' SET lock_timeout = '5s'
SET work_mem = '256MB' AS $$
DECLARE
    declared ops.datasets := (SELECT d FROM ops.datasets AS d WHERE dataset = target);
    part text := target || to_char(range_day, '"_"YYYYMMDD');
    lower_end timestamptz := range_day::timestamptz;
    upper_end timestamptz := lower_end + interval '1 day';
    key_list text;
    same_key text;
    wrong uuid;
    elsewhere boolean;
    entry ops.expiries;
BEGIN
    IF declared.partition_every IS DISTINCT FROM 'day' THEN
        RAISE EXCEPTION 'dataset % has no daily partitions', left(target, 40) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF keep_days IS NULL OR keep_days < 1 OR upper_end > clock_timestamp() - make_interval(days => keep_days) THEN
        RAISE EXCEPTION '% of % is not older than % days', target, range_day, keep_days
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(20412, declared.lock_id);
    SELECT e.* INTO entry FROM ops.expiries AS e WHERE e.dataset = target AND e.range_start = lower_end;
    IF entry.dataset IS NOT NULL THEN
        RETURN entry;
    END IF;
    IF to_regclass(format('raw.%I', part)) IS NULL THEN
        RAISE EXCEPTION '% has no partition of %', target, range_day USING ERRCODE = 'undefined_table';
    END IF;
    -- Nothing more comes into this day; other days go on.
    EXECUTE format('LOCK TABLE raw.%I IN SHARE MODE', part);

    EXECUTE format(
        $f$
        SELECT coalesce(b.batch_id, r.batch_id) FROM (
            SELECT batch_id, count(*) AS row_count, sha256(string_agg(digest, ''::bytea ORDER BY digest)) AS rows_sha256
            FROM (
                SELECT batch_id, CASE WHEN record_hash = %1$s THEN ops.row_digest(record_hash, received_at,
                    available_at, available_basis, known_at, batch_id, schema_version, quality_score) ELSE '' END
                    AS digest
                FROM raw.%2$I
            ) AS d GROUP BY batch_id
        ) AS r LEFT JOIN ops.batches AS b ON b.batch_id = r.batch_id AND b.dataset = %3$L
        WHERE b.batch_id IS NULL OR b.inserted_count <> r.row_count OR b.rows_sha256 <> r.rows_sha256
            OR NOT EXISTS (SELECT FROM ops.lake_objects AS o WHERE o.batch_id = b.batch_id AND o.kind = 'parquet')
        LIMIT 1
        $f$, ops.record_hash_expression(target, true), part, target) INTO wrong;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '% of %: batch % is not what the ledger says, or lies in another day too, or has no file in the lake',
            target, range_day, wrong USING ERRCODE = 'data_corrupted';
    END IF;

    SELECT string_agg(quote_ident(k), ', '), string_agg(format('other.%1$I = gone.%1$I', k), ' AND ')
        INTO key_list, same_key FROM unnest(ARRAY['source', 'symbol'] || declared.natural_key) AS k;
    entry.dataset := target;
    entry.range_start := lower_end;
    entry.range_end := upper_end;
    EXECUTE format('SELECT coalesce(array_agg(DISTINCT batch_id ORDER BY batch_id), ''{}''), count(*) FROM raw.%I', part)
        INTO entry.batch_ids, entry.row_count;
    -- Without a revision in another batch no key of this day is anywhere else.
    elsewhere := EXISTS (SELECT FROM ops.batches AS b WHERE b.dataset = target AND b.revised_count > 0);
    EXECUTE format('SELECT count(*) FROM (SELECT DISTINCT %s FROM raw.%I) AS gone', key_list, part) || CASE
        WHEN elsewhere THEN format(' WHERE NOT EXISTS (SELECT FROM raw.%I AS other WHERE %s'
            ' AND (other.%4$I < %3$L OR other.%4$I >= %5$L))',
            target, same_key, lower_end, declared.partition_by, upper_end)
        ELSE '' END INTO entry.key_count;
    entry.expired_by := session_user;
    entry.expired_at := clock_timestamp();
    SELECT e.seq, e.chain_sha256 INTO entry.seq, entry.previous_chain_sha256
        FROM ops.expiries AS e WHERE e.dataset = target ORDER BY e.seq DESC LIMIT 1;
    entry.seq := coalesce(entry.seq, 0) + 1;
    entry.chain_sha256 := ops.expiry_hash(entry);
    INSERT INTO ops.expiries SELECT entry.*;
    EXECUTE format('DROP TABLE raw.%I', part);
    RETURN entry;
END
$$;

-- Days of a dataset that have a partition of their own, oldest first.
CREATE FUNCTION ops.partition_days(target text) RETURNS SETOF date
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog AS $$
    SELECT to_date(right(c.relname, 8), 'YYYYMMDD')
    FROM pg_inherits JOIN pg_class AS c ON c.oid = inhrelid
    WHERE inhparent = to_regclass(format('raw.%I', target)) AND c.relname ~ '_[0-9]{8}$' ORDER BY 1
$$;

REVOKE ALL ON FUNCTION ops.expiry_hash(ops.expiries), ops.expire_partition(text, date, integer),
    ops.partition_days(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ops.expire_partition(text, date, integer) TO ingest;
GRANT EXECUTE ON FUNCTION ops.partition_days(text) TO ingest, auditor;
GRANT EXECUTE ON FUNCTION ops.expiry_hash(ops.expiries) TO ingest, auditor;

-- Batches of the archive that were begun: their entries have landed, and wait to be published or acknowledged.
CREATE INDEX batch_steps_collected ON ops.batch_steps (at) WHERE step = 'collected';

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
