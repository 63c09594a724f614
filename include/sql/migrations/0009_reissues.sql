-- Re-issued archive files: what tells two issues of one key apart, how often an issue was left out, and what a new one
-- has changed in the facts.

ALTER TABLE archive_objects
    ADD COLUMN checksum_etag text,
    ADD COLUMN attempts integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN archive_objects.attempts IS 'How often in a row this issue was left out; after the third time it is left alone until it changes.';
-- Kept with their quotes until now, which the listing of another server may lack.
UPDATE archive_objects SET etag = trim(BOTH '"' FROM etag) WHERE etag IS NOT NULL;
CREATE INDEX archive_objects_left_out ON archive_objects (key) WHERE verdict <> 'ok';

-- Nothing has written corrections so far.
ALTER TABLE corrections DROP COLUMN reason,
    ADD COLUMN batch  text NOT NULL,
    ADD COLUMN source text NOT NULL,
    ADD COLUMN origin text;
CREATE INDEX corrections_time ON corrections (dataset, symbol, time);
COMMENT ON TABLE corrections IS 'Values that a source has changed since it first gave them, old and new. origin is the archive file or the endpoint.';

ALTER TABLE data_versions ADD COLUMN corrected bigint NOT NULL DEFAULT 0;
COMMENT ON COLUMN data_versions.corrected IS 'Of the updated rows those that this source had given otherwise before; see corrections.';

ALTER TABLE coverage ADD COLUMN rechecks smallint NOT NULL DEFAULT 0;
COMMENT ON COLUMN coverage.rechecks IS 'How often all of missing_upstream was asked for again in vain; the pause doubles with each, up to sixteen weeks.';
