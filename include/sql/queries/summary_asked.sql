-- For which windows the sources were asked about a symbol, by the load log.
SELECT coalesce(range_agg("window"), '{{}}') AS asked FROM data_versions
WHERE dataset = %(dataset)s AND %(symbol)s = ANY (symbols)
