-- A close that lies far from those before and after it, while the other price (of trades or mark) did not go even half of the way.
WITH looked AS MATERIALIZED (
    SELECT l.symbol, l.series, w.span, staging.period(l.series) AS period,
           coalesce(%(limits)s::jsonb ->> l.series, %(limits)s::jsonb ->> '*')::double precision AS jump
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows), unnest(l.windows) AS w (span)
), neighbours AS MATERIALIZED (
    SELECT l.symbol, l.series, l.span, l.period, l.jump, n.*
    FROM looked l CROSS JOIN LATERAL (
        SELECT t.time, t.close, lag(t.time) OVER o AS time_before, lag(t.close) OVER o AS before, lead(t.time) OVER o AS time_after, lead(t.close) OVER o AS after
        FROM {table} t
        WHERE t.symbol = l.symbol AND t.timeframe = l.series AND t.time >= lower(l.span) - l.period AND t.time < upper(l.span) + l.period
          AND t.time >= %(start)s AND t.time < %(end)s
        WINDOW o AS (ORDER BY t.time)
    ) n
), spikes AS MATERIALIZED (
    SELECT *, greatest(before, after) AS most, least(before, after) AS least FROM neighbours
    WHERE span @> time AND time_before = time - period AND time_after = time + period
      AND (close > (1 + jump) * greatest(before, after) OR close * (1 + jump) < least(before, after))
)
SELECT s.symbol, s.series, tstzrange(s.time, s.time + s.period) AS "window", 'critical' AS severity, 'close' AS "column",
       jsonb_build_object('close', s.close, 'before', s.before, 'after', s.after, 'other low', m.low, 'other high', m.high) AS detail
FROM spikes s CROSS JOIN LATERAL (
    SELECT t.low, t.high FROM {beside} t
    WHERE t.symbol = s.symbol AND t.timeframe = s.series AND t.time = s.time AND t.time >= %(start)s AND t.time < %(end)s OFFSET 0
) m
WHERE s.close > s.most AND m.high < (s.close + s.most) / 2 OR s.close < s.least AND m.low > (s.close + s.least) / 2
