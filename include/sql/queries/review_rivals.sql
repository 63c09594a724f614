-- The rivals of a row, an entry for each expectation that they fail.
SELECT DISTINCT r.id, q.id AS of, r.decision, r.settled_at, r.expectation, r.row_hash, r.row, r.source, r.origin
FROM quarantine q JOIN quarantine r ON {rival}
WHERE q.id = %(id)s
ORDER BY r.id
