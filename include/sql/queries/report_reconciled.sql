-- The last comparison of archive and REST by the end of a day, by dataset and column.
SELECT dataset, "column", count(DISTINCT symbol) AS symbols, sum(agree)::bigint AS agree, sum(within)::bigint AS within,
       sum(beyond)::bigint AS beyond, sum(archive_only)::bigint AS archive_only, sum(rest_only)::bigint AS rest_only,
       max(tolerance) AS tolerance, max(compared_at) AS compared_at
FROM reconciliations
WHERE compared_at < %(end)s
GROUP BY dataset, "column"
ORDER BY beyond DESC, dataset, "column"
