-- Withheld rows that nobody has reviewed: how many, of what, and for how long the oldest waits.
SELECT count(*) AS rows, coalesce(array_agg(DISTINCT dataset), ARRAY[]::text[]) AS datasets,
       coalesce(now() - min(quarantined_at), interval '0') AS oldest
FROM quarantine WHERE reviewed_at IS NULL
