-- What lies between the first and the last instant that the ledger accounts for, and is neither present nor explained. All of
-- it, by the ledger alone; a sliver shorter than a period holds no point.
SELECT l.symbol, l.series, h.span AS "window", 'warning' AS severity, 'time' AS "column",
       jsonb_build_object('what', 'neither present nor explained',
                          'points', floor(extract(epoch FROM upper(h.span) - lower(h.span)) / extract(epoch FROM staging.period(l.step)))::bigint) AS detail
FROM unnest(%(symbols)s::text[], %(series)s::text[], %(steps)s::text[]) AS l (symbol, series, step)
JOIN coverage c ON c.dataset = %(target)s AND c.symbol = l.symbol AND c.series = l.series
CROSS JOIN LATERAL (SELECT c.present + c.missing_upstream + c.quarantined AS accounted) a
CROSS JOIN LATERAL unnest(tstzmultirange(range_merge(a.accounted)) - a.accounted) AS h (span)
WHERE upper(h.span) - lower(h.span) >= staging.period(l.step)
