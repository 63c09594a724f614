-- Keep what was told.
INSERT INTO verification_told (dataset, symbol, series, told_until)
SELECT * FROM unnest(%(datasets)s::text[], %(symbols)s::text[], %(series)s::text[], %(until)s::timestamptz[])
ORDER BY 1, 2, 3
ON CONFLICT (dataset, symbol, series) DO UPDATE SET told_until = EXCLUDED.told_until
