-- A quarantined row, once for each expectation that it fails.
SELECT q.id, q.dataset, q.symbol, q.series,
       CASE WHEN q.time >= '0001-01-02Z' AND q.time < '9999-12-31Z' THEN q.time END AS time,
       q.expectation, q."column", q.value, q.reason, q.source, q.origin, q.batch, q.row, q.quarantined_at, q.reviewed_at,
       q.decision, q.note, q.decided_by, q.settled_at
FROM quarantine q
WHERE {matches}
ORDER BY q.id
