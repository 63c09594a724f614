-- What audits had found and was not resolved by the end of a day, and what was resolved on it, by audit and dataset; what a
-- person has accepted by itself.
SELECT audit, dataset, severity, accepted,
       count(*) FILTER (WHERE resolved_at IS NULL OR resolved_at >= %(end)s) AS open,
       count(*) FILTER (WHERE found_at >= %(start)s) AS found,
       count(*) FILTER (WHERE resolved_at >= %(start)s AND resolved_at < %(end)s) AS resolved,
       count(DISTINCT symbol) FILTER (WHERE resolved_at IS NULL OR resolved_at >= %(end)s) AS symbols,
       (array_agg(symbol ORDER BY found_at DESC, symbol))[1] AS symbol,
       (array_agg("window" ORDER BY found_at DESC, symbol))[1] AS "window",
       (array_agg(detail ORDER BY found_at DESC, symbol))[1] AS detail,
       (array_agg(accepted_by || ': ' || note ORDER BY found_at DESC, symbol))[1] AS accepted_by
FROM (
    -- What was accepted later was critical until then: nothing else can be accepted.
    SELECT audit, dataset, CASE WHEN accepted_at >= %(end)s THEN 'critical' ELSE severity END AS severity,
           coalesce(accepted_at < %(end)s, false) AS accepted, found_at, resolved_at, symbol, "window", detail, accepted_by, note
    FROM audit_findings
) f
WHERE found_at < %(end)s AND (resolved_at IS NULL OR resolved_at >= %(start)s)
GROUP BY audit, dataset, severity, accepted
ORDER BY severity, accepted, open DESC, audit, dataset
