-- How far series are verified.
SELECT dataset, symbol, series, verified_from, verified_until, covered_until FROM verification
WHERE (%(datasets)s::text[] IS NULL OR dataset = ANY (%(datasets)s)) AND (%(symbols)s::text[] IS NULL OR symbol = ANY (%(symbols)s))
ORDER BY dataset, symbol, series
