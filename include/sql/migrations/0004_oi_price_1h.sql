-- Price, open interest and funding side by side, by the hour. Driven by the 1h candles so that LIMIT 20 reads twenty
-- of them; plain SQL (no time_bucket, no date_bin), so one text serves every tier.
CREATE VIEW oi_price_1h AS
SELECT p.symbol, p.time AS bucket, p.open, p.high, p.low, p.close, p.volume, p.quote_volume,
       o.oi_first, o.oi_last, o.oi_last - o.oi_first AS oi_change, o.oi_value_last, f.funding_rate
FROM ohlcv p
LEFT JOIN LATERAL (
    SELECT (array_agg(i.open_interest ORDER BY i.time))[1]            AS oi_first,
           (array_agg(i.open_interest ORDER BY i.time DESC))[1]       AS oi_last,
           (array_agg(i.open_interest_value ORDER BY i.time DESC))[1] AS oi_value_last
    FROM open_interest i
    WHERE i.symbol = p.symbol AND i.time >= p.time AND i.time < p.time + interval '1 hour'
) o ON true
LEFT JOIN LATERAL (
    SELECT r.funding_rate FROM funding_rate r
    WHERE r.symbol = p.symbol AND r.time >= p.time AND r.time < p.time + interval '1 hour'
    ORDER BY r.time DESC LIMIT 1
) f ON true
WHERE p.timeframe = '1h';
COMMENT ON VIEW oi_price_1h IS 'bucket is the start of the hour; oi_* are the first and last points inside it; funding settled inside it.';
