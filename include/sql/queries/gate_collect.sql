-- The rows that fail an expectation. They are found where they are; none travels. What a query gives beside them, when it is
-- asked once more, is none of the batch's.
INSERT INTO gate_failing (address, expectation, withholds)
SELECT DISTINCT s.ctid, {expectation}, {withholds}
FROM ({failing}) AS f JOIN {staging} s ON s.ctid = f.row_id::tid AND s.stage_id = {stage_id}
