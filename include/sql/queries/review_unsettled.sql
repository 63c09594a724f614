-- How many rows are released and not yet published: what did so was stopped.
SELECT count(*) AS rows FROM quarantine q
WHERE q.decision = 'released' AND q.settled_at IS NULL AND q.review IS NOT NULL AND {matches}
