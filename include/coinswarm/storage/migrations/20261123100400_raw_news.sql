-- Raw tables of the news datasets. Values may be null in tombstones only, which the *_complete checks say.

-- migrate:up
CREATE TABLE raw.articles (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    article_id text NOT NULL,
    url text,
    domain text,
    title text,
    language text,
    assets jsonb,
    themes jsonb,
    tone numeric,
    positive_pct numeric,
    negative_pct numeric,
    word_count bigint,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT articles_complete CHECK (is_tombstone OR num_nulls(url, assets) = 0)
) PARTITION BY RANGE (received_at);
INSERT INTO ops.datasets VALUES ('articles', 7, ARRAY['article_id'], 'received_at');
SELECT ops.equip_dataset('articles');

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
