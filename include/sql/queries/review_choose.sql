-- The entries that a decision is about; of what filters find, what is still to be done, and what this review has done before.
INSERT INTO review_chosen (id, dataset, decision, review, is_stopped, is_named)
SELECT q.id, q.dataset, q.decision, q.review,
       coalesce(q.decision = 'released' AND q.settled_at IS NULL AND q.review IS NOT NULL, false),
       coalesce(q.id = ANY (%(ids)s::bigint[]), false)
FROM quarantine q
WHERE {matches} AND (%(ids)s::bigint[] IS NOT NULL OR q.decision IS NULL OR q.review = %(review)s
                     OR (q.decision = 'released' AND q.settled_at IS NULL))
