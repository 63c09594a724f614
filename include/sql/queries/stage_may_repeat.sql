-- Whether a key can be there twice. It cannot where the rows of every origin strictly ascend in the order in which they lie
-- and no two origins of one source and series overlap, which is how sound files are, and far cheaper to see than to count
-- every key. Where rows lie in another order than they came (space was reused), counting merely is not spared.
WITH walked AS (
    SELECT origin, source, symbol, {series} AS series, time, lag(time) OVER (PARTITION BY origin ORDER BY ctid) AS before
    FROM {staging} WHERE stage_id = %(stage_id)s
), origins AS (
    SELECT min(source) AS source, min(symbol) AS symbol, min(series) AS series, min(time) AS first, max(time) AS last,
           bool_and(time > before) AS ascends
    FROM walked GROUP BY origin
), followed AS (
    SELECT *, lag(last) OVER (PARTITION BY source, symbol, series ORDER BY first) >= first AS shared FROM origins
)
SELECT coalesce(bool_or(shared IS TRUE OR ascends IS FALSE), false) AS may_repeat FROM followed
