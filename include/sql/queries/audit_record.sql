-- Look, and keep what is found: a finding that is open already stays as it was found first, one that this look does not make
-- again is resolved. Everything that overlaps the windows has been looked at. What a person accepted stays a warning as long as
-- it says the same; what a person released from the gate's rule of the same is none.
WITH made AS MATERIALIZED ({audit}
), found AS MATERIALIZED (
    SELECT * FROM made n
    WHERE NOT EXISTS (SELECT FROM quarantine q JOIN unnest(%(rules)s::text[]) AS r (rule) ON q.expectation = replace(r.rule, '*', n."column")
                      WHERE q.decision = 'released' AND q.dataset = %(target)s AND q.symbol = n.symbol AND q.time = lower(n."window")
                        AND (q.series = n.series OR NOT %(by_series)s)
                        -- Another value than the released one has nobody released.
                        AND EXISTS (SELECT FROM {table} t WHERE t.symbol = q.symbol AND t.time = q.time AND t.time >= %(start)s AND t.time < %(end)s
                                      AND (to_jsonb(t) ->> 'timeframe' = n.series OR NOT %(by_series)s)
                                      AND to_jsonb(t) ->> n."column" = q.row ->> n."column"))
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
    DO UPDATE SET severity = EXCLUDED.severity, detail = EXCLUDED.detail, accepted_by = NULL, accepted_at = NULL, note = NULL
    WHERE f.detail <> EXCLUDED.detail OR f.severity <> EXCLUDED.severity AND f.accepted_at IS NULL
    RETURNING f.xmax = 0 AS is_new
)
SELECT (SELECT count(*) FROM written WHERE is_new) AS found, (SELECT count(*) FROM resolved) AS resolved
