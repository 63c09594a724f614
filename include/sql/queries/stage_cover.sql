-- What the staged rows of an attempt cover, by series.
SELECT symbol, series, range_agg(tstzrange(time, until)) AS present
FROM {points} WHERE stage_id = %(stage_id)s AND time < '9999-01-01Z'
GROUP BY symbol, series
