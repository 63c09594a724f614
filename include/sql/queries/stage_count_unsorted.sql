-- How many rows stand before an earlier one in what a source sent (COPY keeps the order of what it is sent).
SELECT count(*) FROM (
    SELECT time < lag(time) OVER (PARTITION BY origin, symbol ORDER BY ctid) AS backward
    FROM {staging} WHERE stage_id = %(stage_id)s AND source = 'archive'
) AS ordered WHERE backward
