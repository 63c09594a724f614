-- The series of which the ledger has something: a range of time, or that no source has anything of them.
SELECT dataset, symbol, series FROM coverage
WHERE dataset = ANY (%(datasets)s)
  AND (available_from IS NULL OR NOT (isempty(present) AND isempty(missing_upstream) AND isempty(quarantined)))
