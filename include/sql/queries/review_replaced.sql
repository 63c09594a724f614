-- The first published rows that a release would replace, and how many there are.
SELECT min(p.id) AS id, min(p.source) AS source, count(*) OVER () AS of_all
FROM ({published}) p JOIN quarantine q USING (id)
WHERE p.is_other
GROUP BY q.symbol, q.series, q.time, q.row_hash
ORDER BY 1
LIMIT %(most)s
