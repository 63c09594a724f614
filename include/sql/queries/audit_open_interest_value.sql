-- The price that open interest is valued at against the candle that closes at its instant: its close is the price then, and
-- where the two were not taken in the same second, the price was one of those of the candle.
WITH looked AS MATERIALIZED (
    SELECT symbol, series, span
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows), unnest(l.windows) AS w (span)
), points AS MATERIALIZED (
    SELECT l.symbol, l.series, p.time, p.implied
    FROM looked l CROSS JOIN LATERAL (
        SELECT t.time, t.open_interest_value / nullif(t.open_interest, 0) AS implied FROM open_interest t
        WHERE t.symbol = l.symbol AND t.time >= lower(l.span) AND t.time < upper(l.span) AND t.time >= %(start)s AND t.time < %(end)s OFFSET 0
    ) p
), candles AS MATERIALIZED (
    SELECT l.symbol, c.closes, c.low, c.high, c.close
    FROM looked l CROSS JOIN LATERAL (
        SELECT t.time + interval '5 minutes' AS closes, t.low, t.high, t.close FROM ohlcv t
        WHERE t.symbol = l.symbol AND t.timeframe = '5m' AND t.time >= lower(l.span) - interval '5 minutes' AND t.time < upper(l.span)
          AND t.time >= %(start)s AND t.time < %(end)s OFFSET 0
    ) c
)
SELECT DISTINCT ON (p.symbol, p.time) p.symbol, p.series, tstzrange(p.time, p.time + interval '5 minutes') AS "window", 'critical' AS severity,
       'open_interest_value' AS "column",
       jsonb_build_object('value per open interest', p.implied, 'close', c.close, 'low', c.low, 'high', c.high) AS detail
FROM points p JOIN candles c ON c.symbol = p.symbol AND c.closes = p.time
WHERE p.implied IS NULL OR p.implied < c.low * (1 - %(tolerance)s) OR p.implied > c.high * (1 + %(tolerance)s)
ORDER BY p.symbol, p.time
