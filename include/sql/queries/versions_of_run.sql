-- What a run has published.
SELECT batch, dataset, symbols, "window", sources, staged, inserted, updated, unchanged, quarantined, normalised, warnings
FROM data_versions WHERE run = %(run)s ORDER BY dataset, symbols, "window"
