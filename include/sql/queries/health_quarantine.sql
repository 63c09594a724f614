-- Withheld rows that nobody has reviewed: how many, of what, and for how long the oldest waits. A row that fails several
-- expectations is one. Undecided ones have an index; rows that somebody marked by hand before there were decisions were
-- reviewed, too.
SELECT count(DISTINCT (dataset, symbol, series, time, row_hash)) AS rows, coalesce(array_agg(DISTINCT dataset), ARRAY[]::text[]) AS datasets,
       coalesce(now() - min(quarantined_at), interval '0') AS oldest
FROM quarantine WHERE decision IS NULL AND reviewed_at IS NULL
