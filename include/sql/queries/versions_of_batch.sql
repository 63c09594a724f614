-- What was published of a batch: empty while it was not.
SELECT dataset, staged, inserted, updated, corrected, unchanged, quarantined, normalised FROM data_versions WHERE batch = %(batch)s ORDER BY dataset
