-- The batches of a day that failed expectations, those with the most rows withheld first, then those with the most rows
-- warned of; with the findings, and how many batches there are of that kind.
SELECT v.id, v.dataset, v.symbols, v."window", v.published_at, v.staged, v.quarantined, f.findings, count(*) OVER () AS of
FROM data_versions v
CROSS JOIN LATERAL (SELECT jsonb_agg(w) AS findings, sum((w ->> 'failing')::bigint) AS failing
                    FROM jsonb_array_elements(v.warnings) AS w WHERE w ? 'expectation' AND w ? 'reason') f
WHERE v.published_at >= %(start)s AND v.published_at < %(end)s AND f.findings IS NOT NULL
ORDER BY v.quarantined DESC, f.failing DESC, v.id
LIMIT %(most)s
