-- Staging takes rows by the hundred thousand, and what it parses and stores for each of them is most of its cost: a number
-- instead of a UUID says which attempt a row belongs to, and `blank` stands only where a row can be blank (together a fifth
-- off COPY). What is staged at this moment is staged again by whoever needs it.

TRUNCATE staging.manifests, staging.ohlcv, staging.open_interest, staging.funding_rate, staging.long_short_ratio;

CREATE SEQUENCE staging.attempts;
COMMENT ON SEQUENCE staging.attempts IS 'Numbers the attempts to stage a batch: stage_id.';

DROP VIEW staging.ohlcv_points, staging.open_interest_points, staging.funding_rate_points, staging.long_short_ratio_points;

ALTER TABLE staging.manifests ALTER COLUMN stage_id TYPE bigint USING 0;
ALTER TABLE staging.ohlcv ALTER COLUMN stage_id TYPE bigint USING 0, DROP COLUMN blank;
ALTER TABLE staging.open_interest ALTER COLUMN stage_id TYPE bigint USING 0;
ALTER TABLE staging.funding_rate ALTER COLUMN stage_id TYPE bigint USING 0, DROP COLUMN blank;
ALTER TABLE staging.long_short_ratio ALTER COLUMN stage_id TYPE bigint USING 0;

CREATE VIEW staging.ohlcv_points AS
SELECT stage_id, source, symbol, timeframe AS series, time, time + staging.period(timeframe) AS until, withheld
FROM staging.ohlcv;
CREATE VIEW staging.open_interest_points AS
SELECT stage_id, source, symbol, '5m' AS series, time, time + interval '5 minutes' AS until, withheld
FROM staging.open_interest WHERE open_interest IS NOT NULL;
CREATE VIEW staging.funding_rate_points AS
SELECT stage_id, source, symbol, 'settlement' AS series, time, time + interval '1 hour' AS until, withheld
FROM staging.funding_rate;
CREATE VIEW staging.long_short_ratio_points AS
SELECT s.stage_id, s.source, s.symbol, p.series, s.time, s.time + interval '5 minutes' AS until, s.withheld
FROM staging.long_short_ratio s
CROSS JOIN LATERAL (VALUES ('top_position', s.top_position), ('top_account', s.top_account),
                           ('global_account', s.global_account), ('taker_volume', s.taker_volume)) AS p (series, value)
WHERE p.value IS NOT NULL;
