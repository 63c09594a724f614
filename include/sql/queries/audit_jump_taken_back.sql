-- A value that lies far from those five minutes before and after it, which are near one another. The gate's rule of the same,
-- for points that were published before the next one was there.
WITH looked AS MATERIALIZED (
    SELECT l.symbol, l.series, w.span, coalesce(%(limits)s::jsonb ->> l.series, %(limits)s::jsonb ->> '*')::double precision AS jump
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows), unnest(l.windows) AS w (span)
), walked AS MATERIALIZED (
    SELECT l.symbol, l.series, l.span, l.jump, {column} AS "column", p.*
    FROM looked l CROSS JOIN LATERAL (
        SELECT v.time, v.value, lag(v.time) OVER o AS time_before, lag(v.value) OVER o AS before, lead(v.time) OVER o AS time_after, lead(v.value) OVER o AS after
        FROM (SELECT t.time, {value} AS value FROM {table} t
              WHERE t.symbol = l.symbol AND t.time >= lower(l.span) - interval '5 minutes' AND t.time < upper(l.span) + interval '5 minutes'
                AND t.time >= %(start)s AND t.time < %(end)s) v
        WHERE v.value > 0
        WINDOW o AS (ORDER BY v.time)
    ) p
)
SELECT symbol, series, tstzrange(time, time + interval '5 minutes') AS "window", 'critical' AS severity, "column",
       jsonb_build_object('value', value, 'before', before, 'after', after) AS detail
FROM walked
WHERE span @> time AND time_before = time - interval '5 minutes' AND time_after = time + interval '5 minutes'
  AND greatest(value / before, before / value) > jump AND greatest(value / after, after / value) > jump
  AND greatest(after / before, before / after) < sqrt(jump)
