-- What has been published of some batches.
SELECT batch, dataset, symbols, "window", sources, staged, inserted, updated, corrected, unchanged, quarantined, normalised, warnings
FROM data_versions WHERE batch = ANY (%(batches)s) ORDER BY dataset, symbols, "window"
