-- How far series are verified, by dataset and series: how many, the one that is furthest behind, and the middle one.
SELECT dataset, series, count(*) AS of, count(*) FILTER (WHERE verified_until = verified_from) AS unverified,
       min(verified_until) AS earliest, (array_agg(symbol ORDER BY verified_until, symbol))[1] AS last_symbol,
       percentile_disc(0.5) WITHIN GROUP (ORDER BY verified_until) AS median
FROM verification
GROUP BY dataset, series
ORDER BY dataset, series
