-- The staged batch as expectations see it: each row with its address, and the window that was asked for.
CREATE TEMPORARY VIEW gate_batch AS
SELECT s.ctid::text AS row_id, s.*, {window_start}::timestamptz AS window_start, {window_end}::timestamptz AS window_end
FROM {staging} s WHERE s.stage_id = {stage_id}
