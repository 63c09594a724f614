-- Series that the ledger has not met yet.
INSERT INTO coverage (dataset, symbol, series)
SELECT %(dataset)s, symbol, series FROM unnest(%(symbols)s::text[]) AS symbol, unnest(%(series)s::text[]) AS series
ORDER BY symbol, series
ON CONFLICT DO NOTHING
