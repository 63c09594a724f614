-- Settlements have no grid: where the time since the one before is longer than the interval that ends with it, some lack in
-- what the ledger calls present; and settlements that the ledger does not call present.
WITH looked AS (
    SELECT l.symbol, l.series, l.windows, c.present
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows)
    JOIN coverage c ON c.dataset = %(target)s AND c.symbol = l.symbol AND c.series = l.series
), settled AS (
    -- The one before and the one after, however far: a hole is the same from wherever it is looked at.
    SELECT l.symbol, l.series, l.windows, l.present, s.*
    FROM looked l CROSS JOIN LATERAL unnest(l.windows) AS w (span) CROSS JOIN LATERAL (
        SELECT t.time, t.interval_hours * interval '1 hour' AS since,
               (SELECT max(p.time) FROM {table} p WHERE p.symbol = l.symbol AND p.time < t.time) AS before
        FROM {table} t
        WHERE t.symbol = l.symbol AND t.time >= lower(w.span)
          AND t.time <= (SELECT coalesce(min(n.time), 'infinity') FROM {table} n WHERE n.symbol = l.symbol AND n.time >= upper(w.span))
    ) s
), found AS (
    SELECT symbol, series, windows, lacks AS span, 'settlements lack here, by the interval of the next one' AS what,
           round(extract(epoch FROM time - before) / extract(epoch FROM since)) - 1 AS points
    FROM settled, unnest(tstzmultirange(tstzrange(before + interval '1 hour', time - since + interval '1 hour')) * present) AS lacks
    WHERE before < time - since
    UNION ALL
    SELECT symbol, series, windows, tstzrange(time, time + interval '1 hour'), 'the table has it, the ledger does not call it present', 1
    FROM settled WHERE NOT present @> time
)
SELECT DISTINCT symbol, series, span AS "window", 'critical' AS severity, 'time' AS "column", jsonb_build_object('what', what, 'points', points) AS detail
FROM found WHERE windows && span
