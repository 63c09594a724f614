-- The ledger's rows for some symbols of a dataset (every symbol where %(symbols)s is null).
SELECT dataset, symbol, series, available_from, available_to, evidence, present, lost, missing_upstream, quarantined,
       recheck_at, listening
FROM coverage WHERE (%(datasets)s::text[] IS NULL OR dataset = ANY (%(datasets)s)) AND (%(symbols)s::text[] IS NULL OR symbol = ANY (%(symbols)s))
ORDER BY dataset, symbol, series
