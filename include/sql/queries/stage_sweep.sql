-- Remove rows that no manifest claims: attempts that were killed or superseded.
DELETE FROM {staging} WHERE stage_id <> ALL (ARRAY(SELECT stage_id FROM staging.manifests))
