-- The archive files of a dataset that had to be left out, by symbol.
SELECT s.symbol, array_agg(o.key ORDER BY o.key) AS keys
FROM archive_objects o JOIN symbols s ON s.exchange_symbol = split_part(o.key, '/', 6)
WHERE s.symbol = ANY (%(symbols)s) AND split_part(o.key, '/', 5) = %(kind)s AND o.verdict NOT IN ('ok', 'accepted')
GROUP BY s.symbol
