-- An answer that is the address of no row of the batch, with the expectation's number.
SELECT number, coalesce(quote_literal(row_id), 'NULL') AS row_id FROM gate_answers a
WHERE CASE WHEN row_id ~ '^\(\d{{1,9}},\d{{1,4}}\)$'
           THEN NOT EXISTS (SELECT FROM {staging} s WHERE s.ctid = a.row_id::tid AND s.stage_id = {stage_id})
           ELSE true END
LIMIT 1
