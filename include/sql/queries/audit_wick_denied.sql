-- A wick far from its candle's body, while the other price went not even a third of the way. The gate's rule of the same, for
-- candles that were published before the other price was there.
WITH looked AS MATERIALIZED (
    SELECT l.symbol, l.series, w.span, staging.period(l.series) AS period,
           coalesce(%(limits)s::jsonb ->> l.series, %(limits)s::jsonb ->> '*')::double precision AS most
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows), unnest(l.windows) AS w (span)
), wicks AS MATERIALIZED (
    SELECT l.symbol, l.series, l.period, l.most, c.*
    FROM looked l CROSS JOIN LATERAL (
        SELECT t.time, t.low, t.high, least(t.open, t.close) AS bottom, greatest(t.open, t.close) AS top FROM {table} t
        WHERE t.symbol = l.symbol AND t.timeframe = l.series AND t.time >= lower(l.span) AND t.time < upper(l.span)
          AND t.time >= %(start)s AND t.time < %(end)s
          AND (t.high > (1 + l.most) * greatest(t.open, t.close) OR t.low * (1 + l.most) < least(t.open, t.close)) OFFSET 0
    ) c
)
SELECT w.symbol, w.series, tstzrange(w.time, w.time + w.period) AS "window", 'critical' AS severity, CASE WHEN w.high / w.top > w.bottom / w.low THEN 'high' ELSE 'low' END AS "column",
       jsonb_build_object('low', w.low, 'high', w.high, 'body from', w.bottom, 'to', w.top, 'other low', m.low, 'other high', m.high) AS detail
FROM wicks w CROSS JOIN LATERAL (
    SELECT t.low, t.high FROM {beside} t
    WHERE t.symbol = w.symbol AND t.timeframe = w.series AND t.time = w.time AND t.time >= %(start)s AND t.time < %(end)s OFFSET 0
) m
WHERE greatest(m.high / w.top, w.bottom / m.low) - 1 < (greatest(w.high / w.top, w.bottom / w.low) - 1) / 3
