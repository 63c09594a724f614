-- One walk through the rows in the order in which they came (COPY keeps it): how many stand before an earlier one of their
-- archive object; and whether a key can repeat at all. It cannot where the rows of every origin strictly ascend and no two
-- origins of one source and series overlap, which is how sound files are, and far cheaper to see than to count every key.
WITH walked AS (
    SELECT origin, source, symbol, {series} AS series, time, lag(time) OVER (PARTITION BY origin ORDER BY ctid) AS before
    FROM {staging} WHERE stage_id = %(stage_id)s
), origins AS (
    SELECT min(source) AS source, min(symbol) AS symbol, min(series) AS series, min(time) AS first, max(time) AS last,
           count(*) FILTER (WHERE source = 'archive' AND time < before) AS backward, bool_and(time > before) AS ascends
    FROM walked GROUP BY origin
), followed AS (
    SELECT *, lag(last) OVER (PARTITION BY source, symbol, series ORDER BY first) >= first AS shared FROM origins
)
SELECT coalesce(sum(backward), 0)::bigint AS unsorted,
       coalesce(bool_or(shared IS TRUE OR ascends IS FALSE), false) AS may_repeat
FROM followed
