-- What everybody was told last.
SELECT recipient, finding, level, since, told_at, looks_below FROM alerts
