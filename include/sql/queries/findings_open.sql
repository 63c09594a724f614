-- What is open, by audit, dataset, severity and whether it is accepted, with how many instants of which series, and the first
-- of each.
SELECT DISTINCT ON (audit, dataset, severity, accepted) id, audit, dataset, severity, accepted, count(*) OVER k AS findings, symbol, series,
       lower("window") AS time, upper("window") AS until, "column", detail, accepted_by, note
FROM (SELECT *, accepted_at IS NOT NULL AS accepted FROM audit_findings WHERE resolved_at IS NULL) f
WHERE dataset = ANY (%(datasets)s) AND (%(symbols)s::text[] IS NULL OR symbol = ANY (%(symbols)s))
WINDOW k AS (PARTITION BY audit, dataset, severity, accepted)
ORDER BY audit, dataset, severity, accepted, "window", symbol, series
