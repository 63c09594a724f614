-- interval_hours = the interval that ends at a settlement: the time since the one before it. The rows of the lead-in
-- are there for this alone. Where that is longer than any interval of the exchange, settlements lack in between, and a first
-- settlement ever has none before it: what the archive reports stands in.
WITH settlements AS (
    SELECT DISTINCT symbol, time FROM staging.funding_rate WHERE stage_id = %(stage_id)s
), intervals AS (
    SELECT symbol, time, extract(epoch FROM time - lag(time) OVER (PARTITION BY symbol ORDER BY time)) / 3600 AS hours
    FROM settlements
), derived AS (
    UPDATE staging.funding_rate f
    SET interval_hours = round(CASE WHEN i.hours <= 8 THEN i.hours ELSE f.reported_interval_hours END)
    FROM intervals i
    WHERE f.stage_id = %(stage_id)s AND f.series <> 'lead_in' AND i.symbol = f.symbol AND i.time = f.time
)
DELETE FROM staging.funding_rate WHERE stage_id = %(stage_id)s AND series = 'lead_in'
