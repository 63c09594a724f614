-- Settlements have no grid: where the time since the one before is longer than the interval that ends with it, one lacks in
-- what the ledger calls present; and settlements that the ledger does not call present. Of several that lack in a row the last
-- is certain, the others follow when it is there again.
WITH looked AS (
    SELECT l.symbol, l.series, l.windows, c.present
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows)
    JOIN coverage c ON c.dataset = %(target)s AND c.symbol = l.symbol AND c.series = l.series
), settled AS (
    SELECT l.symbol, l.series, l.windows, l.present, s.*
    FROM looked l CROSS JOIN LATERAL unnest(l.windows) AS w (span) CROSS JOIN LATERAL (
        -- A day holds the settlement before any other, and the one after.
        SELECT t.time, t.interval_hours * interval '1 hour' AS since, lag(t.time) OVER (ORDER BY t.time) AS before FROM {table} t
        WHERE t.symbol = l.symbol AND t.time >= lower(w.span) - interval '1 day' AND t.time < upper(w.span) + interval '1 day'
          AND t.time >= %(start)s AND t.time < %(end)s
    ) s
), found AS (
    SELECT symbol, series, windows, tstzrange(time - since, time - since + interval '1 hour') AS span,
           'the interval of the next settlement begins here, the table lacks this one' AS what
    FROM settled WHERE before < time - since AND present @> time - since
    UNION ALL
    SELECT symbol, series, windows, tstzrange(time, time + interval '1 hour'), 'the table has it, the ledger does not call it present'
    FROM settled WHERE NOT present @> time
)
SELECT DISTINCT symbol, series, span AS "window", 'critical' AS severity, 'time' AS "column", jsonb_build_object('what', what, 'points', 1) AS detail
FROM found WHERE windows && span
