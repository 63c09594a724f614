-- What the same source gave for the same key with other values: of such rows one at most can be right.
SELECT DISTINCT r.id, q.id AS of, r.decision, r.expectation, r.row_hash, r.row, r.source, r.origin
FROM quarantine q
JOIN quarantine r ON r.dataset = q.dataset AND r.symbol = q.symbol AND r.series = q.series AND r.time = q.time
                 AND r.source = q.source AND r.row_hash <> q.row_hash
WHERE q.id = ANY (%(ids)s)
  AND NOT EXISTS (SELECT FROM unnest(%(key)s::text[]) AS k WHERE r.row ->> k IS DISTINCT FROM q.row ->> k)
ORDER BY r.id
