-- Rows that wait for a decision, or were superseded, the first so many of them.
SELECT q.id, q.dataset, q.symbol, q.series,
       CASE WHEN q.time >= '0001-01-02Z' AND q.time < '9999-12-31Z' THEN q.time END AS time,
       q.expectation, q."column", q.value, q.reason, q.source, q.origin, q.quarantined_at
FROM quarantine q
WHERE {state} AND {matches}
ORDER BY q.dataset, q.expectation, q.symbol, q.series, q.time, q.id
LIMIT %(most)s
