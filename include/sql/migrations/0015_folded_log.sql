-- Old entries of the load log are folded into one per day and group of symbols: how many batches an entry speaks of.

ALTER TABLE data_versions ADD COLUMN batches integer NOT NULL DEFAULT 1;
COMMENT ON COLUMN data_versions.batches IS 'How many batches the entry speaks of: more than one where old ones were folded into it.';
