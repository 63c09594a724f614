-- What waits for a decision, or was superseded, by what it fails. Python knows the years 1 to 9999 only.
SELECT q.dataset, q.expectation, min(q."column") AS "column", min(q.reason) AS reason, count(*) AS rows,
       (array_agg(DISTINCT q.symbol))[1:20] AS symbols, count(DISTINCT q.symbol) AS symbol_count, max(q.id) AS up_to,
       min(q.time) FILTER (WHERE q.time >= '0001-01-02Z' AND q.time < '9999-12-31Z') AS first,
       max(q.time) FILTER (WHERE q.time >= '0001-01-02Z' AND q.time < '9999-12-31Z') AS last,
       max(q.quarantined_at) AS withheld_at
FROM quarantine q
WHERE {state} AND {matches}
GROUP BY q.dataset, q.expectation
ORDER BY q.dataset, rows DESC, q.expectation
