-- Publish one source's staged rows: join them with the target inside the batch's bounds, keep what is new or distinct,
-- insert the new in key order and update the distinct. Unchanged rows are never touched: an ON CONFLICT guard would lock
-- each of them and write WAL for nothing, and made inserting cost twice as much. The ledger's row locks, which the caller
-- holds, keep other publishers of these series away; a stranger's row of the same key would fail the transaction.
WITH merged AS MATERIALIZED (
    SELECT {key}, {values}, source, is_new FROM (
        SELECT {staged_key}, {merged},
               CASE WHEN t.source IS NULL OR source_rank(%(source)s) > source_rank(t.source) THEN %(source)s ELSE t.source END AS source,
               t.symbol IS NULL AS is_new, ROW ({target_values}) AS was
        FROM ({staged}) s
        LEFT JOIN {target} t ON {same_key} AND t.time >= %(start)s AND t.time < %(end)s AND t.symbol = ANY (%(symbols)s)
    ) m
    WHERE is_new OR was IS DISTINCT FROM ROW ({values})
    ORDER BY {key}
), inserted AS (
    INSERT INTO {target} ({key}, {values}, source)
    SELECT {key}, {values}, source FROM merged WHERE is_new
    RETURNING 1
), updated AS (
    UPDATE {target} t SET ({values}, source, ingested_at) = ROW ({new_values}, s.source, now())
    FROM (SELECT * FROM merged WHERE NOT is_new) s
    WHERE {same_key} AND t.time >= %(start)s AND t.time < %(end)s AND t.symbol = ANY (%(symbols)s)
    RETURNING 1
)
SELECT (SELECT count(*) FROM inserted) AS inserted, (SELECT count(*) FROM updated) AS updated
