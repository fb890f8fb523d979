-- What every dataset has around its raw table: partitions, staging, record hash, row digest, as-of readers, grants.

-- migrate:up
-- SQL expression of one column's canonical text, which U+001F ends; a null is empty text, and no value is. Text carries
-- its length: no value can imitate a separator. A time is the hexadecimal count of microseconds since 2000-01-01 UTC
-- (64 bits), a number its shortest decimal form.
CREATE FUNCTION ops.canonical_text(column_name text, column_type text, as_stored boolean) RETURNS text
LANGUAGE sql IMMUTABLE SET search_path = pg_catalog AS $$
    SELECT format(
        $f$coalesce(%s || E'\x1f', E'\x1f')$f$,
        CASE column_type
            WHEN 'text' THEN format('octet_length(%1$I)::text || '':'' || %1$I', column_name)
            WHEN 'numeric' THEN format(CASE WHEN as_stored THEN '%I::text' ELSE 'trim_scale(%I)::text' END, column_name)
            WHEN 'timestamp with time zone' THEN format('encode(timestamptz_send(%I), ''hex'')', column_name)
            ELSE format('%I::text', column_name)
        END
    )
$$;

-- Expression of a record's hash: sha-256 of what the provider said, in table order (source, symbol, event_at,
-- published_at, is_tombstone, the dataset's columns), without the separators at the end: a column that is added later is
-- null in older rows and leaves their hashes as they are. Names are left out, as sha-256 takes its time by the byte. Our
-- own clocks and marks are left out, so that fetching the same thing again is not a revision. Raw holds numbers in
-- their shortest form; `as_stored` does not shorten them once more, so that a check sees every byte. Backslashes are
-- doubled because the cast to bytea reads escapes; unlike convert_to, the cast is immutable, as a generated column asks.
CREATE FUNCTION ops.record_hash_expression(target text, as_stored boolean) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog AS $$
    SELECT format(
        $f$sha256(rtrim(replace(%s, E'\\', E'\\\\')::bytea, '\x1f'::bytea))$f$,
        string_agg(ops.canonical_text(attname, format_type(atttypid, NULL), as_stored), ' || ' ORDER BY attnum)
    )
    FROM pg_attribute
    WHERE attrelid = format('raw.%I', target)::regclass AND attnum > 0 AND NOT attisdropped
        AND attname <> ALL (ARRAY['received_at', 'available_at', 'available_basis', 'known_at', 'batch_id',
            'record_hash', 'schema_version', 'quality_score'])
$$;

-- Digest of a whole raw row: its record hash and all columns that the record hash leaves out. Inlinable.
CREATE FUNCTION ops.row_digest(
    record_hash bytea, received_at timestamptz, available_at timestamptz, available_basis text, known_at timestamptz,
    batch_id uuid, schema_version bigint, quality_score numeric
) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(
        record_hash || timestamptz_send(received_at)
        || coalesce('\x01'::bytea || timestamptz_send(available_at), '\x00')
        || timestamptz_send(known_at) || uuid_send(batch_id) || int8send(schema_version)
        || replace(available_basis || '|' || coalesce(quality_score::text, ''), E'\\', E'\\\\')::bytea
    )
$$;

-- Build, or rebuild after a column was added to raw and staging, everything that follows from a raw table.
CREATE FUNCTION ops.equip_dataset(target text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    declared ops.datasets := (SELECT d FROM ops.datasets AS d WHERE dataset = target);
    parent regclass := format('raw.%I', target)::regclass;
    key_list text := (SELECT string_agg(quote_ident(k), ', ' ORDER BY n)
        FROM unnest(ARRAY['source', 'symbol'] || declared.natural_key) WITH ORDINALITY AS u(k, n));
    column_list text := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
        FROM pg_attribute WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped);
    unique_list text := key_list || CASE WHEN declared.partition_by = ANY (declared.natural_key) THEN ''
        ELSE ', ' || quote_ident(declared.partition_by) END;
    part regclass;
BEGIN
    IF to_regclass(format('staging.%I', target)) IS NULL THEN
        EXECUTE format(
            'CREATE TABLE staging.%I (%s, row_no bigint NOT NULL, landing_key text, PRIMARY KEY (batch_id, row_no))',
            target,
            (SELECT string_agg(
                    CASE attname
                        WHEN 'record_hash' THEN 'record_hash bytea GENERATED ALWAYS AS ('
                            || ops.record_hash_expression(target, false) || ') STORED'
                        ELSE format('%I %s%s', attname, format_type(atttypid, NULL),
                            CASE WHEN attnotnull THEN ' NOT NULL' ELSE '' END)
                    END, ', ' ORDER BY attnum)
                FROM pg_attribute
                WHERE attrelid = parent AND attnum > 0 AND NOT attisdropped AND attname <> 'known_at'));
    ELSE
        EXECUTE format('ALTER TABLE staging.%I ALTER COLUMN record_hash SET EXPRESSION AS (%s)',
            target, ops.record_hash_expression(target, false));
    END IF;
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON staging.%I TO ingest', target);
    EXECUTE format('GRANT SELECT ON staging.%I TO auditor', target);

    -- Newest revision of a key, as-of and point reads. One index: the partition column, if it is no part of the key, is
    -- last but one only because uniqueness on a partitioned table asks for it.
    EXECUTE format('CREATE UNIQUE INDEX IF NOT EXISTS %I ON %s (%s, known_at DESC%s) NULLS NOT DISTINCT',
        target || '_revisions', parent, key_list,
        CASE WHEN unique_list = key_list THEN '' ELSE ', ' || quote_ident(declared.partition_by) END);
    -- Watermark scans: rows arrive in the order of known_at, so a block range index is exact and almost free.
    EXECUTE format(
        'CREATE INDEX IF NOT EXISTS %I ON %s USING brin (known_at) WITH (pages_per_range = 32, autosummarize)',
        target || '_known_at', parent);
    IF NOT 'event_at' = ANY (declared.natural_key) THEN
        EXECUTE format('CREATE INDEX IF NOT EXISTS %I ON %s (symbol, event_at)', target || '_event_at', parent);
    END IF;
    PERFORM ops.make_append_only(parent);
    FOR part IN SELECT inhrelid FROM pg_inherits WHERE inhparent = parent LOOP
        PERFORM ops.make_append_only(part);
    END LOOP;
    EXECUTE format('GRANT SELECT, INSERT ON %s TO ingest', parent);
    EXECUTE format('GRANT SELECT ON %s TO transform, auditor', parent);

    -- Inlinable (SQL, stable, no SET): filters on the key reach the index.
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION raw.%1$I(t timestamptz) RETURNS SETOF raw.%2$I LANGUAGE sql STABLE AS $sql$
            SELECT %3$s FROM (
                SELECT DISTINCT ON (%4$s) %3$s FROM raw.%2$I WHERE known_at <= t ORDER BY %4$s, known_at DESC
            ) AS newest WHERE NOT is_tombstone
        $sql$', target || '_asof', target, column_list, key_list);
    EXECUTE format(
        'CREATE OR REPLACE VIEW raw.%1$I AS SELECT %3$s FROM (
                SELECT DISTINCT ON (%4$s) %3$s FROM raw.%2$I ORDER BY %4$s, known_at DESC
            ) AS newest WHERE NOT is_tombstone', target || '_current', target, column_list, key_list);
    EXECUTE format('REVOKE ALL ON FUNCTION raw.%I(timestamptz) FROM PUBLIC', target || '_asof');
    EXECUTE format('GRANT EXECUTE ON FUNCTION raw.%I(timestamptz) TO ingest, transform, auditor', target || '_asof');
    EXECUTE format('GRANT SELECT ON raw.%I TO ingest, transform, auditor', target || '_current');
END
$$;

-- Create the yearly partitions that the years of `moments` need; earlier than 2010 is one partition.
-- SECURITY DEFINER because ingest owns nothing in raw. ATTACH, not PARTITION OF: readers are not locked out.
CREATE FUNCTION ops.ensure_partitions(target text, moments timestamptz[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET timezone = 'UTC' AS $$
DECLARE
    lower_year integer;
    part text;
    created integer := 0;
BEGIN
    IF NOT EXISTS (SELECT FROM ops.datasets WHERE dataset = target) THEN
        RAISE EXCEPTION 'dataset % has no raw table', left(target, 40) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF EXISTS (SELECT FROM unnest(moments) AS m WHERE m IS NULL OR NOT isfinite(m)
            OR m < '1900-01-01 00:00+00' OR m >= '2100-01-01 00:00+00') THEN
        RAISE EXCEPTION 'a partition of % is asked for outside of 1900 to 2099', target
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR lower_year IN
        SELECT DISTINCT greatest(extract(year FROM m)::integer, 2009) FROM unnest(moments) AS m ORDER BY 1
    LOOP
        part := target || CASE WHEN lower_year < 2010 THEN '_before_2010' ELSE '_' || lower_year END;
        CONTINUE WHEN to_regclass(format('raw.%I', part)) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(20412, (SELECT lock_id FROM ops.datasets WHERE dataset = target));
        CONTINUE WHEN to_regclass(format('raw.%I', part)) IS NOT NULL;
        EXECUTE format('CREATE TABLE raw.%I (LIKE raw.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
            part, target);
        EXECUTE format('ALTER TABLE raw.%I ATTACH PARTITION raw.%I FOR VALUES FROM (%s) TO (%L)', target, part,
            CASE WHEN lower_year < 2010 THEN 'MINVALUE'
                ELSE quote_literal(format('%s-01-01 00:00:00+00', lower_year)) END,
            format('%s-01-01 00:00:00+00', lower_year + 1));
        PERFORM ops.make_append_only(format('raw.%I', part)::regclass);
        EXECUTE format('GRANT SELECT ON raw.%I TO auditor', part);
        created := created + 1;
    END LOOP;
    RETURN created;
END
$$;

REVOKE ALL ON FUNCTION ops.canonical_text(text, text, boolean), ops.record_hash_expression(text, boolean),
    ops.equip_dataset(text),
    ops.row_digest(bytea, timestamptz, timestamptz, text, timestamptz, uuid, bigint, numeric),
    ops.ensure_partitions(text, timestamptz[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ops.row_digest(bytea, timestamptz, timestamptz, text, timestamptz, uuid, bigint, numeric)
    TO ingest, auditor;
GRANT EXECUTE ON FUNCTION ops.canonical_text(text, text, boolean), ops.record_hash_expression(text, boolean) TO auditor;
GRANT EXECUTE ON FUNCTION ops.ensure_partitions(text, timestamptz[]) TO ingest;

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
