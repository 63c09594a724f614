-- Candles of trades and of mark price that lie wholly apart: values of another contract, however many and however like one
-- another. Which of the two is wrong they don't say. Where nothing is traded the last price stands still, and mark price goes on.
WITH looked AS MATERIALIZED (
    SELECT l.symbol, l.series, w.span, staging.period(l.series) AS period
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows), unnest(l.windows) AS w (span)
)
SELECT l.symbol, l.series, tstzrange(c.time, c.time + l.period) AS "window", 'critical' AS severity, 'close' AS "column",
       jsonb_build_object('low', c.low, 'high', c.high, 'mark low', c.mark_low, 'mark high', c.mark_high) AS detail
FROM looked l CROSS JOIN LATERAL (
    SELECT o.time, o.low, o.high, m.low AS mark_low, m.high AS mark_high
    FROM ohlcv o JOIN mark_price m ON m.symbol = o.symbol AND m.timeframe = o.timeframe AND m.time = o.time
    WHERE o.symbol = l.symbol AND o.timeframe = l.series AND o.time >= lower(l.span) AND o.time < upper(l.span)
      AND o.time >= %(start)s AND o.time < %(end)s AND m.symbol = l.symbol AND m.timeframe = l.series AND m.time >= lower(l.span) AND m.time < upper(l.span)
      AND m.time >= %(start)s AND m.time < %(end)s
      AND o.volume > 0 AND least(o.low, o.high, m.low, m.high) > 0 AND greatest(o.low, o.high, m.low, m.high) < 'Infinity'
      AND (o.low > (1 + %(tolerance)s) * m.high OR m.low > (1 + %(tolerance)s) * o.high) OFFSET 0
) c
