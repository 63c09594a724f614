-- What people have rejected in a batch's window. A table of its own has no statistics, and that is wanted: of few rejected
-- rows the planner would look through all of a batch for each.
CREATE TEMPORARY TABLE gate_rejected ON COMMIT DROP AS
SELECT symbol, series, time, row_hash, expectation, "column", reason FROM quarantine
WHERE decision = 'rejected' AND dataset = {dataset} AND time >= {window_start} AND time < {window_end}
