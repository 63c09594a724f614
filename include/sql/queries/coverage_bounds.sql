-- The ledger's rows for some symbols of some datasets without what lies between their ends: of a universe's year with its
-- holes that is the most part of them.
SELECT dataset, symbol, series, available_from, available_to, evidence,
       lower(present + missing_upstream + quarantined) AS covered_from, upper(present + missing_upstream + quarantined) AS covered_to
FROM coverage WHERE dataset = ANY (%(datasets)s) AND (%(symbols)s::text[] IS NULL OR symbol = ANY (%(symbols)s))
ORDER BY dataset, symbol, series
