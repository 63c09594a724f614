-- Withhold every row that fails an expectation. The rows are found and marked where they are; none travels.
UPDATE {staging} SET withheld = array_append(withheld, {expectation})
WHERE ctid = ANY (ARRAY(SELECT DISTINCT row_id::tid FROM ({failing}) AS f))
