-- Columns of which archive and REST gave different values when they were last compared.
SELECT r.symbol, l.series, r."window", 'warning' AS severity, r."column",
       jsonb_build_object('beyond', r.beyond, 'tolerance', r.tolerance, 'sample', r.sample) AS detail
FROM unnest(%(symbols)s::text[], %(series)s::text[]) AS l (symbol, series)
JOIN reconciliations r ON r.dataset = %(target)s AND r.symbol = l.symbol
 -- The comparison of a table whose rows several series share is about all of them: it is told of the one that the column is of.
 AND (r.series = l.series OR r.series = 'all' AND r."column" = l.series)
WHERE r.beyond > 0
