-- What is found missing only now does not wait for what has been missing for months: it is asked for by itself first.

ALTER TABLE coverage ADD COLUMN recheck_all_at timestamptz;
COMMENT ON COLUMN coverage.recheck_all_at IS 'When all of missing_upstream is asked for again, where at recheck_at only what was found missing last is; rechecked holds the rest.';
