-- Frames that nobody can read, whole, with the reason. Loading the same again adds nothing.
INSERT INTO quarantine (batch, dataset, symbol, series, time, expectation, "column", value, reason, source, origin, row, row_hash)
SELECT %(batch)s, %(dataset)s, %(symbol)s, %(series)s, NULL, 'frame_is_readable', NULL, NULL, u.reason, 'stream', %(origin)s,
       jsonb_build_object('frame', u.frame), hashtextextended(u.frame, 0)
FROM jsonb_to_recordset(%(unreadable)s) AS u (frame text, reason text)
ON CONFLICT DO NOTHING
