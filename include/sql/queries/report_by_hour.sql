-- Rows that the loads of a day have added and changed, by the hour (UTC) of their publication.
SELECT date_trunc('hour', published_at, 'UTC') AS hour, sum(inserted)::bigint AS inserted, sum(updated)::bigint AS updated
FROM data_versions
WHERE published_at >= %(start)s AND published_at < %(end)s
GROUP BY hour
ORDER BY hour
