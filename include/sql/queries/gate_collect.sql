-- The rows that fail an expectation. They are found where they are; none travels.
INSERT INTO gate_failing (address, expectation, withholds)
SELECT DISTINCT row_id::tid, {expectation}, {withholds} FROM ({failing}) AS f
