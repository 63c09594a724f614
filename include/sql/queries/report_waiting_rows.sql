-- The latest of the rows that wait for a person at an instant.
SELECT id, dataset, symbol, series, time, expectation, "column", value, source, origin, quarantined_at
FROM quarantine
WHERE quarantined_at < %(end)s AND (reviewed_at IS NULL OR reviewed_at >= %(end)s)
ORDER BY quarantined_at DESC, id DESC
LIMIT %(most)s
