-- Schemas, roles and the trigger function that makes a table append-only.
-- Passwords are not set here: the platform gives every installation its own.

-- migrate:up
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['ingest', 'transform', 'planner', 'auditor'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS', role_name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;  -- roles belong to the cluster: another database of it has them already
        END;
    END LOOP;
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO ingest, transform, planner, auditor', current_database());
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO ingest, transform', current_database());
    EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), 'UTC');
END
$$;

CREATE SCHEMA staging;
CREATE SCHEMA raw;
CREATE SCHEMA quarantine;
CREATE SCHEMA ops;
CREATE SCHEMA marts;
CREATE SCHEMA audit;
REVOKE ALL ON SCHEMA public FROM PUBLIC;

GRANT USAGE ON SCHEMA staging, quarantine TO ingest, auditor;
GRANT USAGE ON SCHEMA raw TO ingest, transform, auditor;
GRANT USAGE ON SCHEMA ops TO ingest, transform, planner, auditor;
GRANT USAGE, CREATE ON SCHEMA marts, audit TO transform;
GRANT USAGE ON SCHEMA marts TO planner;
GRANT USAGE ON SCHEMA marts, audit TO auditor;
ALTER DEFAULT PRIVILEGES FOR ROLE transform IN SCHEMA marts GRANT SELECT ON TABLES TO planner, auditor;
ALTER DEFAULT PRIVILEGES FOR ROLE transform IN SCHEMA audit GRANT SELECT ON TABLES TO auditor;

-- Attached to raw tables, ledgers and marts. It refuses every role, the owner and superusers included.
CREATE FUNCTION ops.forbid_change() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    RAISE EXCEPTION '%.% is append-only: % is refused', tg_table_schema, tg_table_name, tg_op
        USING ERRCODE = 'restrict_violation', HINT = 'Publish a new revision or a tombstone instead.';
END
$$;

-- Make a table (or partitioned table) append-only. ENABLE ALWAYS: session_replication_role does not switch it off.
-- Row triggers are inherited by partitions, statement triggers are not: call it on each partition as well.
CREATE FUNCTION ops.make_append_only(target regclass) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = target AND tgname = 'forbid_change_of_row') THEN
        EXECUTE format('CREATE TRIGGER forbid_change_of_row BEFORE UPDATE OR DELETE ON %s '
            'FOR EACH ROW EXECUTE FUNCTION ops.forbid_change()', target);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER forbid_change_of_row', target);
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = target AND tgname = 'forbid_change') THEN
        EXECUTE format('CREATE TRIGGER forbid_change BEFORE UPDATE OR DELETE OR TRUNCATE ON %s '
            'FOR EACH STATEMENT EXECUTE FUNCTION ops.forbid_change()', target);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER forbid_change', target);
    END IF;
END
$$;

REVOKE ALL ON FUNCTION ops.forbid_change(), ops.make_append_only(regclass) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ops.forbid_change(), ops.make_append_only(regclass) TO transform;

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
