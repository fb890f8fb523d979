-- Raw tables of the onchain datasets. Values may be null in tombstones only, which the *_complete checks say.

-- migrate:up
CREATE TABLE raw.tvl (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    scope text NOT NULL,
    tvl_usd numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT tvl_complete CHECK (is_tombstone OR num_nulls(tvl_usd) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('tvl', 8, ARRAY['scope', 'event_at'], 'event_at');
SELECT ops.equip_dataset('tvl');

CREATE TABLE raw.stablecoin_supply (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    circulating numeric,
    circulating_usd numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT stablecoin_supply_complete CHECK (is_tombstone OR num_nulls(circulating) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('stablecoin_supply', 9, ARRAY['event_at'], 'event_at');
SELECT ops.equip_dataset('stablecoin_supply');

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
