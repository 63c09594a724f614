-- What was loaded on a day, by dataset and by what has loaded it (a DAG, a command); the run's name begins with it.
SELECT dataset, split_part(run, '|', 1) AS loader, sum(batches)::bigint AS batches, sum(staged)::bigint AS staged,
       sum(inserted)::bigint AS inserted, sum(updated)::bigint AS updated, sum(corrected)::bigint AS corrected,
       sum(unchanged)::bigint AS unchanged, sum(quarantined)::bigint AS quarantined,
       min(published_at) AS first, max(published_at) AS last
FROM data_versions
WHERE published_at >= %(start)s AND published_at < %(end)s
GROUP BY dataset, loader
ORDER BY dataset, staged DESC, loader
