-- Look, and keep what is found: a finding that is open already stays as it was found first, one that this look does not make
-- again is resolved. Everything that overlaps the windows has been looked at.
WITH found AS MATERIALIZED ({audit}
), resolved AS (
    UPDATE audit_findings f SET resolved_at = now()
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows)
    WHERE f.audit = %(audit)s AND f.dataset = %(target)s AND f.symbol = l.symbol AND f.series = l.series
      AND f.resolved_at IS NULL AND l.windows && f."window"
      AND NOT EXISTS (SELECT FROM found n WHERE (n.symbol, n.series, n."window", n."column") = (f.symbol, f.series, f."window", f."column"))
    RETURNING 1
), written AS (
    INSERT INTO audit_findings AS f (audit, dataset, symbol, series, "window", severity, "column", detail)
    SELECT %(audit)s, %(target)s, symbol, series, "window", severity, "column", detail FROM found
    ORDER BY symbol, series, "window", "column"
    ON CONFLICT (audit, dataset, symbol, series, "window", "column") WHERE resolved_at IS NULL
    DO UPDATE SET severity = EXCLUDED.severity, detail = EXCLUDED.detail
    WHERE (f.severity, f.detail) IS DISTINCT FROM (EXCLUDED.severity, EXCLUDED.detail)
    RETURNING f.xmax = 0 AS is_new
)
SELECT (SELECT count(*) FROM written WHERE is_new) AS found, (SELECT count(*) FROM resolved) AS resolved
