-- Returns from hour to hour of each symbol in the last thirty verified days: no candle that begins at verified_until or later,
-- and none across a hole: verified is also where the absence of candles is explained.
SELECT v.symbol, v.verified_until, count(r.ret) AS hours, avg(r.ret) AS mean, stddev_samp(r.ret) AS spread
FROM verification v CROSS JOIN LATERAL (
    SELECT CASE WHEN time - lag(time) OVER (ORDER BY time) = interval '1 hour'
                THEN close / lag(close) OVER (ORDER BY time) - 1 END AS ret FROM ohlcv
    WHERE symbol = v.symbol AND timeframe = v.series AND time >= v.verified_until - interval '30 days' AND time < v.verified_until
) r
WHERE v.dataset = 'ohlcv' AND v.series = '1h' AND v.verified_until > v.verified_from
GROUP BY v.symbol, v.verified_until ORDER BY v.symbol
