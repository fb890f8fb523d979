-- Raw tables of the exchanges datasets. Values may be null in tombstones only, which the *_complete checks say.

-- migrate:up
CREATE TABLE raw.ohlcv (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    timeframe text NOT NULL,
    open numeric,
    high numeric,
    low numeric,
    close numeric,
    volume_base numeric,
    volume_quote numeric,
    trade_count bigint,
    taker_buy_base numeric,
    taker_buy_quote numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT ohlcv_complete CHECK (is_tombstone OR num_nulls(open, high, low, close, volume_base) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('ohlcv', 1, ARRAY['timeframe', 'event_at'], 'event_at');
SELECT ops.equip_dataset('ohlcv');

CREATE TABLE raw.funding_rates (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    kind text NOT NULL,
    rate numeric,
    interval_hours numeric,
    settled_at timestamptz,
    mark_price numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT funding_rates_complete CHECK (is_tombstone OR num_nulls(rate, interval_hours) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('funding_rates', 2, ARRAY['event_at', 'kind'], 'event_at');
SELECT ops.equip_dataset('funding_rates');

CREATE TABLE raw.open_interest (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    open_interest_base numeric,
    open_interest_usd numeric,
    open_interest_native numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT open_interest_complete CHECK (is_tombstone OR num_nulls(open_interest_base) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('open_interest', 3, ARRAY['event_at'], 'event_at');
SELECT ops.equip_dataset('open_interest');

CREATE TABLE raw.long_short_ratios (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    ratio_kind text NOT NULL,
    period text,
    ratio numeric,
    long_share numeric,
    short_share numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT long_short_ratios_complete CHECK (is_tombstone OR num_nulls(period, ratio) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('long_short_ratios', 4, ARRAY['event_at', 'ratio_kind'], 'event_at');
SELECT ops.equip_dataset('long_short_ratios');

CREATE TABLE raw.option_quotes (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    underlying text,
    expires_at timestamptz,
    strike numeric,
    option_type text,
    mark_iv_pct numeric,
    bid_iv_pct numeric,
    ask_iv_pct numeric,
    mark_price numeric,
    bid_price numeric,
    ask_price numeric,
    underlying_price numeric,
    delta numeric,
    open_interest_base numeric,
    volume_24h_base numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT option_quotes_complete CHECK (is_tombstone OR num_nulls(underlying, expires_at, strike, option_type) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('option_quotes', 5, ARRAY['event_at'], 'event_at');
SELECT ops.equip_dataset('option_quotes');

CREATE TABLE raw.volatility_indices (
    source text NOT NULL,
    symbol text NOT NULL,
    event_at timestamptz NOT NULL,
    published_at timestamptz,
    received_at timestamptz NOT NULL,
    available_at timestamptz,
    available_basis text NOT NULL,
    is_tombstone boolean NOT NULL,
    open_pct numeric,
    high_pct numeric,
    low_pct numeric,
    close_pct numeric,
    known_at timestamptz NOT NULL,
    batch_id uuid NOT NULL,
    record_hash bytea NOT NULL,
    schema_version bigint NOT NULL,
    quality_score numeric,
    CONSTRAINT volatility_indices_complete CHECK (is_tombstone OR num_nulls(open_pct, high_pct, low_pct, close_pct) = 0)
) PARTITION BY RANGE (event_at);
INSERT INTO ops.datasets VALUES ('volatility_indices', 6, ARRAY['event_at'], 'event_at');
SELECT ops.equip_dataset('volatility_indices');

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
