-- The first instant that any source has, found once; one that is found earlier later on is the true one.
INSERT INTO coverage AS c (dataset, symbol, series, available_from, evidence)
VALUES (%(dataset)s, %(symbol)s, %(series)s, %(available_from)s, %(evidence)s)
ON CONFLICT (dataset, symbol, series) DO UPDATE SET (available_from, evidence) = ROW (EXCLUDED.available_from, EXCLUDED.evidence)
WHERE c.available_from IS NULL OR EXCLUDED.available_from < c.available_from
