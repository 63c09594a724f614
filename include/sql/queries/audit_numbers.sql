-- Values that are no numbers: PostgreSQL keeps NaN and the infinities, and most of what another audit compares with them agrees.
-- NaN is the greatest of all, so a look at both ends of a row spares its columns.
SELECT l.symbol, l.series, tstzrange(t.time, t.time + coalesce(staging.period(l.step), interval '1 hour')) AS "window",
       'critical' AS severity, v."column", jsonb_build_object('value', v.value::text) AS detail
FROM unnest(%(symbols)s::text[], %(series)s::text[], %(steps)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, step, windows)
CROSS JOIN LATERAL unnest(l.windows) AS w (span)
JOIN {table} t ON t.symbol = l.symbol AND t.time >= lower(w.span) AND t.time < upper(w.span) AND {of_series}
CROSS JOIN LATERAL (VALUES {numbers}) AS v ("column", series, value)
WHERE t.time >= %(start)s AND t.time < %(end)s AND coalesce(v.series, l.series) = l.series
  AND (greatest({columns}) >= 'Infinity' OR least({columns}) = '-Infinity') AND v.value IN ('NaN', 'Infinity', '-Infinity')
