-- What sources have changed on a day, by dataset and file or endpoint, the most rows first.
SELECT dataset, source, origin, count(*) AS rows, count(DISTINCT symbol) AS symbols, min(time) AS first, max(time) AS last,
       (array_agg(symbol ORDER BY id))[1] AS symbol, (array_agg(old_row ORDER BY id))[1] AS old_row,
       (array_agg(new_row ORDER BY id))[1] AS new_row, sum(count(*)) OVER ()::bigint AS of, count(*) OVER () AS origins
FROM corrections
WHERE corrected_at >= %(start)s AND corrected_at < %(end)s
GROUP BY dataset, source, origin
ORDER BY rows DESC, dataset, origin
LIMIT %(most)s
