-- What a person has released from an expectation passes it: the same row, value for value.
DELETE FROM gate_failing f USING {staging} s, quarantine q
WHERE f.withholds AND s.ctid = f.address AND q.decision = 'released' AND q.dataset = %(dataset)s AND q.expectation = f.expectation
  AND {same_row}
