-- Withhold every row that fails an expectation, but those that a person has released from it: the same row, value for value.
-- The rows are found and marked where they are; none travels.
UPDATE {staging} s SET withheld = array_append(withheld, {expectation})
WHERE s.ctid = ANY (ARRAY(SELECT DISTINCT row_id::tid FROM ({failing}) AS f))
  AND NOT EXISTS (SELECT FROM quarantine q
                  WHERE q.decision = 'released' AND q.dataset = {dataset} AND q.expectation = {expectation}
                    AND q.symbol = s.symbol AND q.series = s.{series} AND q.time = s.time
                    AND q.row_hash = hash_record_extended(ROW (s.source, s.time, {hashed}), 0))
