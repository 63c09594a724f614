-- Series that are verified until another instant than was told.
SELECT v.dataset, v.symbol, v.series, v.verified_from, v.verified_until, v.covered_until
FROM verification v LEFT JOIN verification_told t USING (dataset, symbol, series)
WHERE v.verified_until IS DISTINCT FROM t.told_until AND (t.told_until IS NOT NULL OR v.verified_until > v.verified_from)
ORDER BY dataset, symbol, series
