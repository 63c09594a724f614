-- What was released before and has now been replaced by a row of the same source and key, which the gate has let pass, is
-- rejected with it.
UPDATE quarantine r
SET decision = 'rejected', note = q.note, decided_by = q.decided_by, review = q.review, reviewed_at = now(), settled_at = now()
FROM quarantine q
WHERE q.review = %(review)s AND q.dataset = %(dataset)s AND q.decision = 'released' AND q.time >= %(start)s AND q.time < %(end)s
  AND r.decision = 'released' AND {rival}
  AND EXISTS (SELECT FROM {staging} s WHERE s.stage_id = %(stage_id)s AND s.withheld IS NULL AND {same_row})
