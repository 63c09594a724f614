-- The mark price of a settlement against the finest mark-price candles that end and begin at its instant; where there are
-- none, against candles of trades, which may lie further off.
WITH looked AS MATERIALIZED (
    SELECT symbol, series, span
    FROM unnest(%(symbols)s::text[], %(series)s::text[], %(windows)s::tstzmultirange[]) AS l (symbol, series, windows), unnest(l.windows) AS w (span)
), settled AS MATERIALIZED (
    SELECT l.symbol, l.series, f.time, f.mark_price
    FROM looked l CROSS JOIN LATERAL (
        SELECT t.time, t.mark_price FROM funding_rate t
        WHERE t.symbol = l.symbol AND t.time >= lower(l.span) AND t.time < upper(l.span) AND t.time >= %(start)s AND t.time < %(end)s
          AND t.mark_price IS NOT NULL OFFSET 0
    ) f
)
SELECT s.symbol, s.series, tstzrange(s.time, s.time + interval '1 hour') AS "window", 'critical' AS severity, 'mark_price' AS "column",
       jsonb_build_object('mark price', s.mark_price, 'candles', c.dataset || ' ' || c.timeframe, 'low', c.low, 'high', c.high) AS detail
FROM settled s CROSS JOIN LATERAL (
    SELECT 'mark_price' AS dataset, t.timeframe, min(t.low) AS low, max(t.high) AS high, %(tolerance)s::double precision AS tolerance, 1 AS rank,
           array_position(%(timeframes)s::text[], t.timeframe) AS place
    FROM mark_price t
    WHERE t.symbol = s.symbol AND t.timeframe = ANY (%(timeframes)s) AND t.time >= s.time - interval '1 hour' AND t.time <= s.time
      AND (t.time = s.time OR t.time + staging.period(t.timeframe) = s.time) AND t.time >= %(start)s AND t.time < %(end)s
    GROUP BY t.timeframe
    UNION ALL
    SELECT 'ohlcv', t.timeframe, min(t.low), max(t.high), %(tolerance_of_trades)s::double precision, 2, array_position(%(timeframes)s::text[], t.timeframe)
    FROM ohlcv t
    WHERE t.symbol = s.symbol AND t.timeframe = ANY (%(timeframes)s) AND t.time >= s.time - interval '1 hour' AND t.time <= s.time
      AND (t.time = s.time OR t.time + staging.period(t.timeframe) = s.time) AND t.time >= %(start)s AND t.time < %(end)s
    GROUP BY t.timeframe
    ORDER BY rank, place LIMIT 1
) c
WHERE s.mark_price < c.low * (1 - c.tolerance) OR s.mark_price > c.high * (1 + c.tolerance)
