-- What is open, by audit, dataset and severity, with how many instants of which series, and the first of each.
SELECT DISTINCT ON (audit, dataset, severity) audit, dataset, severity, count(*) OVER k AS findings, symbol, series, lower("window") AS time,
       upper("window") AS until, "column", detail
FROM audit_findings
WHERE resolved_at IS NULL AND dataset = ANY (%(datasets)s) AND (%(symbols)s::text[] IS NULL OR symbol = ANY (%(symbols)s))
WINDOW k AS (PARTITION BY audit, dataset, severity)
ORDER BY audit, dataset, severity, "window", symbol, series
