-- What was put right in the rows that were loaded on a day, by dataset and kind.
SELECT v.dataset, n.key AS kind, sum(n.value::bigint)::bigint AS times
FROM data_versions v CROSS JOIN jsonb_each_text(v.normalised) n
WHERE v.published_at >= %(start)s AND v.published_at < %(end)s
GROUP BY v.dataset, n.key
HAVING sum(n.value::bigint) > 0
ORDER BY v.dataset, n.key
