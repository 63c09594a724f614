-- Settlements have no grid: where the time since the one before is longer than the interval that ends with it, some lack in
-- what the ledger calls present; and settlements that the ledger does not call present. How many lack, and when, only they
-- could say: all that lies between is disputed. It may be longer than what is looked at, on either side: the one before it and
-- the one behind it are looked up in the key, however far away they are.
WITH looked AS (
    SELECT l.symbol, l.series, l.windows, c.present
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows)
    JOIN coverage c ON c.dataset = %(target)s AND c.symbol = l.symbol AND c.series = l.series
), settled AS (
    SELECT l.symbol, l.series, l.windows, l.present, s.time, s.since,
           coalesce(s.since_before, p.since, interval '8 hours') AS since_before, coalesce(s.before, p.time) AS before
    FROM looked l CROSS JOIN LATERAL unnest(l.windows) AS w (span) CROSS JOIN LATERAL (
        SELECT t.time, t.interval_hours * interval '1 hour' AS since, lag(t.time) OVER (ORDER BY t.time) AS before,
               lag(t.interval_hours) OVER (ORDER BY t.time) * interval '1 hour' AS since_before
        FROM {table} t
        WHERE t.symbol = l.symbol AND t.time >= lower(w.span) AND t.time < upper(w.span) AND t.time >= %(start)s AND t.time < %(end)s
        UNION ALL
        (SELECT t.time, t.interval_hours * interval '1 hour', NULL, NULL FROM {table} t
         WHERE t.symbol = l.symbol AND t.time >= upper(w.span) ORDER BY t.time LIMIT 1)
    ) s LEFT JOIN LATERAL (
        SELECT t.time, t.interval_hours * interval '1 hour' AS since FROM {table} t
        WHERE s.before IS NULL AND t.symbol = l.symbol AND t.time < s.time ORDER BY t.time DESC LIMIT 1
    ) p ON true
), found AS (
    SELECT symbol, series, windows, lacking.span,
           jsonb_build_object('what', 'the table lacks what was settled before the interval of the next one',
                              'points', greatest(1, floor(extract(epoch FROM time - lower(span)) / extract(epoch FROM since))
                                                    - floor(extract(epoch FROM time - upper(span)) / extract(epoch FROM since))),
                              'before', before, 'next', time, 'interval', since) AS detail
    FROM settled, unnest(present * tstzmultirange(tstzrange(before + interval '1 hour', time - since + interval '1 hour'))) AS lacking (span)
    WHERE before < time - since
      -- Only where one must have been: the one before the next, the one behind the last if the interval stayed, or any within
      -- the longest interval. What was never loaded in between is no claim of the ledger's.
      AND (span @> (time - since) OR span @> (before + since_before) OR upper(span) - lower(span) >= interval '8 hours')
    UNION ALL
    SELECT symbol, series, windows, tstzrange(time, time + interval '1 hour'),
           jsonb_build_object('what', 'the table has it, the ledger does not call it present', 'points', 1)
    FROM settled WHERE NOT present @> time
)
SELECT DISTINCT symbol, series, span AS "window", 'critical' AS severity, 'time' AS "column", detail
FROM found WHERE windows && span
