-- Record a decision. What is rejected stays where it is, so that is all there is to do.
UPDATE quarantine
SET decision = %(decision)s, note = %(note)s, decided_by = %(decided_by)s, review = %(review)s, reviewed_at = now(),
    settled_at = CASE WHEN %(decision)s = 'rejected' THEN now() END
WHERE id IN ({ids})
