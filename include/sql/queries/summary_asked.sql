-- For which windows the sources were asked about each symbol, by the load log: one scan of it.
SELECT symbol, range_agg("window") AS asked FROM data_versions CROSS JOIN unnest(symbols) AS symbol
WHERE dataset = %(dataset)s AND symbol = ANY (%(symbols)s)
GROUP BY symbol
