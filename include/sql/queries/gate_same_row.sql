-- The same row, value for value. A contract that nobody knew when its row was withheld may have a name by now. Not compared
-- by equality: the planner would hash all of a batch for it, where few rows have the instant.
q.symbol IN ({symbols}) AND q.series = s.{series} AND q.time = s.time
AND q.row_hash IS NOT DISTINCT FROM hash_record_extended(ROW (s.source, s.time, {hashed}), 0)
