-- A recheck that is due takes many batches: what of the missing points has been asked for again stands here until all are.
ALTER TABLE coverage ADD COLUMN rechecked tstzmultirange NOT NULL DEFAULT '{}';
COMMENT ON COLUMN coverage.rechecked IS 'Since recheck_at fell due: the instants of missing_upstream that were asked for again, in vain.';
