-- Which series of some symbols the ledger has, by dataset.
SELECT dataset, symbol, series FROM coverage
WHERE dataset = ANY (%(datasets)s) AND (%(symbols)s::text[] IS NULL OR symbol = ANY (%(symbols)s))
  AND NOT isempty(present + missing_upstream + quarantined)
ORDER BY dataset, symbol, series
