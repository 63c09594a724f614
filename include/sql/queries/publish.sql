-- Publish one source's staged rows: join them with the target inside the batch's bounds, keep what is new or distinct,
-- upsert that in key order (the same order everywhere: opposite orders deadlocked). Unchanged rows are never touched:
-- an ON CONFLICT guard would lock each of them and write WAL for nothing.
WITH published AS (
    INSERT INTO {target} AS o ({key}, {values}, source)
    SELECT {key}, {values}, source FROM (
        SELECT {staged_key}, {merged},
               CASE WHEN t.source IS NULL OR source_rank(%(source)s) > source_rank(t.source) THEN %(source)s ELSE t.source END AS source,
               t.symbol IS NULL AS is_new, ROW ({target_values}) AS was
        FROM ({staged}) s
        LEFT JOIN {target} t ON {same_key} AND t.time >= %(start)s AND t.time < %(end)s AND t.symbol = ANY (%(symbols)s)
    ) m
    WHERE is_new OR was IS DISTINCT FROM ROW ({values})
    ORDER BY {key}
    ON CONFLICT ({key}) DO UPDATE SET ({values}, source, ingested_at) = ROW ({excluded_values}, EXCLUDED.source, now())
    RETURNING first_seen_at = now() AS inserted
)
SELECT count(*) FILTER (WHERE inserted) AS inserted, count(*) FILTER (WHERE NOT inserted) AS updated FROM published
