-- The rivals of what a decision would release, once each, with the first that it is a rival of. What is rejected for one thing
-- never passes, whatever becomes of the rest.
INSERT INTO review_rivals (id, of, is_among, is_settled)
SELECT r.id, min(q.id), EXISTS (SELECT FROM review_chosen a WHERE a.id = r.id AND a.decision IS NULL), r.settled_at IS NOT NULL
FROM review_chosen c JOIN quarantine q USING (id) JOIN quarantine r ON {rival}
WHERE c.decision IS NULL AND c.dataset = %(dataset)s
  AND NOT EXISTS (SELECT FROM quarantine o
                  WHERE o.dataset = r.dataset AND o.symbol = r.symbol AND o.series = r.series AND o.time = r.time
                    AND o.row_hash = r.row_hash AND o.decision = 'rejected')
GROUP BY r.id
