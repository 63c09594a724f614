-- Which expectations the loads of a day have failed, worst first: in how many batches, how many rows, with samples of
-- the latest batch. What was left out, which stands in the same column, has no expectation.
SELECT v.dataset, f.expectation, f.severity, count(*) AS batches,
       sum(f.failing)::bigint AS failing, sum(f.withheld)::bigint AS withheld,
       (array_agg(f.sample ORDER BY v.id DESC))[1] AS sample, (array_agg(f.reason ORDER BY v.id DESC))[1] AS reason
FROM data_versions v
CROSS JOIN LATERAL jsonb_to_recordset(v.warnings) AS f (expectation text, severity text,
                                                        failing bigint, withheld bigint, sample jsonb, reason text)
WHERE v.published_at >= %(start)s AND v.published_at < %(end)s AND f.expectation IS NOT NULL
GROUP BY v.dataset, f.expectation, f.severity
ORDER BY f.severity, failing DESC, v.dataset, f.expectation
