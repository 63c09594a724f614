-- How many rows wait for a person at an instant: a row that fails several expectations is one.
SELECT count(*) AS rows, count(DISTINCT symbol) AS symbols
FROM (SELECT DISTINCT dataset, symbol, series, time, row_hash FROM quarantine
      WHERE quarantined_at < %(end)s AND (reviewed_at IS NULL OR reviewed_at >= %(end)s)) q
