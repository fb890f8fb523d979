-- Raw tables of the macro datasets. Values may be null in tombstones only, which the *_complete checks say.

-- migrate:up
CREATE TABLE raw.series_observations (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    series_id text NOT NULL,
    value numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('series_observations', 10, ARRAY['series_id', 'event_at', 'published_at'], 'event_at');
SELECT ops.equip_dataset('series_observations');

CREATE TABLE raw.market_caps (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    market_cap_usd numeric,
    volume_24h_usd numeric,
    price_usd numeric,
    dominance_pct numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT market_caps_complete CHECK (is_tombstone OR num_nulls(market_cap_usd) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('market_caps', 11, ARRAY['event_at'], 'event_at');
SELECT ops.equip_dataset('market_caps');

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
