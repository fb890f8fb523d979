-- Trades of a time before anybody listened are asked for as a gap, too.

-- migrate:up
ALTER TABLE ops.stream_gaps DROP CONSTRAINT stream_gaps_reason_check, ADD CONSTRAINT stream_gaps_reason_check
    CHECK (reason IN ('sequence', 'checksum', 'silence', 'disconnect', 'overflow', 'redis', 'malformed', 'trimmed',
        'crash', 'requested'));

-- migrate:down
DO $$ BEGIN RAISE EXCEPTION 'the store is append-only: migrations are not taken back, write a new one'; END $$;
