-- The load log's entry for a batch and dataset.
INSERT INTO data_versions (batch, dataset, symbols, "window", sources, staged, inserted, updated, corrected, unchanged,
                           quarantined, normalised, warnings, run, code_version)
VALUES (%(batch)s, %(dataset)s, %(symbols)s, %(window)s, %(sources)s, %(staged)s, %(inserted)s, %(updated)s, %(corrected)s,
        %(unchanged)s, %(quarantined)s, %(normalised)s, %(warnings)s, %(run)s, %(code_version)s)
